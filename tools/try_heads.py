"""Try other projects' models with ScalableViT as backbone: the table of docs/other_projects.md.

    python tools/try_heads.py              # of all projects that are installed
    python tools/try_heads.py mmdet mmpose

Each model is checked as by tools/train.py, built, trained for two steps and run on two
images.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator

from mmengine.logging import MMLogger
from mmengine.utils import track_iter_progress

from mmscalablevit.cli import tool
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.tables import markdown
from mmscalablevit.trials.hosts import HOSTS, Host, try_model


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Try other projects' models with ScalableViT.")
    parser.add_argument(
        "projects", nargs="*", metavar="PROJECT", help=", ".join(host.package for host in HOSTS)
    )
    return parser.parse_args()


def version(host: Host) -> str:
    """The version of a project that can be imported.

    Raises:
        Exception: What its import raises, whatever that is.
    """
    importlib.import_module(f"{host.package}.models")
    return str(importlib.import_module(host.package).__version__)


def try_all(hosts: list[Host]) -> Iterator[list[str]]:
    """Give a row for each config: project, config, what came of it."""
    for host in hosts:
        try:
            title = f"{host.title} {version(host)}"
        except Exception as error:
            yield [host.title, "", explain(error)]
            continue
        print(f"\n{title}", file=sys.stderr)
        for path in track_iter_progress(list(host.configs), file=sys.stderr):
            try:
                try_model(host, path)
                result = "trains, predicts"
            except Exception as error:
                result = explain(error)
            yield [title, path, result]
            title = ""


def explain(error: Exception) -> str:
    """The last line of an exception, as tracebacks have it."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(args: argparse.Namespace) -> int:
    """Try the models and print the table.

    Returns:
        0 if all of them work, else 1.
    """
    names = {host.package: host for host in HOSTS}
    if unknown := [name for name in args.projects if name not in names]:
        raise UsageError(f"unknown project {unknown[0]!r}: known are {', '.join(names)}")
    MMLogger.get_instance("try_heads", log_level="ERROR")  # not each weight's initialization
    hosts = [names[name] for name in args.projects or names]
    rows = list(try_all(hosts))
    print(markdown(["project", "config", "with ScalableViT"], rows, {0, 1, 2}))
    return any(row[2] != "trains, predicts" for row in rows)


if __name__ == "__main__":
    sys.exit(tool.run(main, parse_args()))
