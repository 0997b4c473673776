"""The papers' tables: what is printed, what is counted, and the runs behind them.

    python tools/reproduce.py list [TABLE ...]
    python tools/reproduce.py count [TABLE|CONFIG ...]
    python tools/reproduce.py launch TABLE [--launcher pytorch|slurm|print]
    python tools/reproduce.py collect [TABLE ...]
    python tools/reproduce.py docs [--check]

TABLE is 2, 3 (or 3-retinanet, 3-mask-rcnn), 4 (or 4-semantic-fpn, 4-upernet), 5 (or 5a, 5b), 6, 7,
stvit or lvt; `list` names all.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.utils import ProgressBar

from mmscalablevit import files
from mmscalablevit.cli import tool
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import documents, launching, plan, report, tables
from mmscalablevit.reproduction.counting import Counter, tables_of_configs
from mmscalablevit.reproduction.published import load_tables, select_tables
from mmscalablevit.reproduction.runs import examine


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="rows with published figures, configs and states")
    listing.set_defaults(run=list_rows)
    listing.add_argument("names", nargs="*", metavar="TABLE", help="default: all")

    counting = commands.add_parser("count", help="parameters and FLOPs beside the published ones")
    counting.set_defaults(run=count)
    counting.add_argument(
        "names", nargs="*", metavar="TABLE|CONFIG", help="tables or config files; default: all"
    )
    counting.add_argument("--out", type=Path, metavar="FILE", help="write the result to a file")

    launcher = commands.add_parser("launch", help="start the runs that a table lacks")
    launcher.set_defaults(run=launch)
    launcher.add_argument("names", nargs="+", metavar="TABLE")
    launcher.add_argument("--rows", nargs="+", metavar="NAME", help="default: all that have runs")
    launcher.add_argument(
        "--launcher",
        choices=("pytorch", "slurm", "print"),
        default="pytorch",
        help="pytorch: one run after the other on this machine; slurm: likewise through srun; "
        "print: only the commands of the one, or with --partition of the other",
    )
    launcher.add_argument(
        "--gpus", type=int, metavar="N", help="of each run; default: as many as published"
    )
    launcher.add_argument("--partition", metavar="P", help="of Slurm")

    collector = commands.add_parser("collect", help="write tables with published and own figures")
    collector.set_defaults(run=collect)
    collector.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    collector.add_argument(
        "--out", type=Path, metavar="DIR", help="default: tables in the directory of the runs"
    )

    docs = commands.add_parser("docs", help="write the tables of READMEs and the metafiles")
    docs.set_defaults(run=write_docs)
    docs.add_argument("--check", action="store_true", help="write nothing, name what is outdated")

    for command in (listing, counting, launcher, collector):
        command.add_argument(
            "--tables", type=Path, metavar="YML", help="tables of your own; default: the papers'"
        )
    for command in (listing, launcher, collector):
        where = Path("work_dirs")
        command.add_argument(
            "--work-dirs", type=Path, default=where, metavar="DIR", help=f"default: {where}"
        )
    return parser.parse_args(argv)


def write(path: Path, text: str) -> None:
    """Write a file as a whole, and say so."""
    files.write_whole(path, text.encode("utf-8", "replace"))
    print(f"written: {path}")


def list_rows(args: argparse.Namespace) -> None:
    """Print tables as published, and what there is of each row here."""
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    trainings = plan.plan(known, plan.select_rows(chosen), args.work_dirs)
    states = {training.config: examine(training).state.value for training in trainings}
    print("\n\n".join(tables.list_table(table, states) for table in chosen))


def count(args: argparse.Namespace) -> None:
    """Count the models of tables' rows, or of configs."""
    known, counter = load_tables(args.tables), Counter()
    configs = [Path(name) for name in args.names if name.endswith(".py")]
    names = [name for name in args.names if not name.endswith(".py")]
    if args.out and not args.out.absolute().parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no such folder")
    wanted = select_tables(known, names) if names or not configs else []
    wanted += tables_of_configs(known.values(), configs, counter)
    texts = []
    progress = ProgressBar(sum(len(table.rows) for table in wanted), file=sys.stderr)
    for table in wanted:
        counts = {}
        for row in table.rows:
            counts[row.name] = counter.count_row(table, row)
            progress.update()
        texts.append(tables.count_table(table, counts))
    print(file=sys.stderr)
    text = "\n\n".join([*texts, tables.LEGEND])
    if args.out:
        write(args.out, text + "\n")
    else:
        print(text)


def launch(args: argparse.Namespace) -> None:
    """Start the runs that tables lack, or print the commands that do."""
    if args.gpus is not None and args.gpus < 1:
        raise UsageError(f"--gpus {args.gpus}: takes a number from 1 on")
    if args.launcher == "slurm" and not args.partition:
        raise UsageError("--launcher slurm needs --partition; sinfo lists the partitions")
    if args.launcher == "pytorch" and args.partition:
        raise UsageError("--partition is for --launcher slurm or print")
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    trainings = plan.plan(known, plan.select_rows(chosen, args.rows), args.work_dirs)
    tools = Path(__file__).resolve().parent
    start = launching.Start(tools, args.gpus, args.partition)
    commands, notes = launching.prepare(trainings, start)
    for note in notes:
        print(note, file=sys.stderr)
    if not commands:
        print("nothing is to be started", file=sys.stderr)
    elif args.launcher == "print":
        print(*commands, sep="\n")
    else:
        if args.launcher == "pytorch":
            require_gpus(max(command.gpus for command in commands))
        if failed := run_all(commands):
            sys.exit(f"failed: {', '.join(failed)}")


def require_gpus(wanted: int) -> None:
    """Check that this machine has as many GPUs as a run takes, unless it has none at all."""
    there = torch.cuda.device_count()
    if 0 < there < wanted:
        raise UsageError(
            f"a run takes {wanted} GPUs as published, and this machine has {there}: --gpus {there} "
            "trains on those, with the learning rate scaled"
        )
    if there == 0:
        print(f"no GPU here: {wanted} process(es) on the CPU", file=sys.stderr)


def run_all(commands: Sequence[launching.Command]) -> list[str]:
    """Run commands in turn, but those that need what has failed; return the titles of both."""
    with socket.socket() as probe:  # other training on this machine may have the default port
        probe.bind(("", 0))
        port = str(probe.getsockname()[1])
    environment = {"PORT": port, "PYTHON": sys.executable, **os.environ}
    failed = []
    for command in commands:
        if command.needs and not command.needs.is_file():
            print(f"== left out for want of {command.needs}: {command.title}", file=sys.stderr)
            failed.append(command.title)
            continue
        print(f"== {command.title}", flush=True)
        process = subprocess.Popen(command.words, env=environment)
        try:
            code = process.wait()
        except KeyboardInterrupt:  # which it gets as well, and then ends in order
            process.wait()
            sys.exit(130)
        if code != 0:
            print(f"== failed: {command.title}", file=sys.stderr)
            failed.append(command.title)
    return failed


def collect(args: argparse.Namespace) -> None:
    """Write tables with what has been measured, as Markdown and CSV."""
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    out = args.out or args.work_dirs / "tables"
    if not args.work_dirs.is_dir():
        print(f"there is no folder {args.work_dirs}: every run is missing", file=sys.stderr)
    files.ensure_writable(out)
    found = report.collect(known, chosen, args.work_dirs, out)
    name = "_".join(["table", *args.names]) if args.names else "tables"
    for suffix, text in {"md": report.to_markdown(found), "csv": report.to_csv(found)}.items():
        write(out / f"{name}.{suffix}", text)


def write_docs(args: argparse.Namespace) -> None:
    """Bring the tables of the READMEs and the metafiles up to date, or name those that are not."""
    progress = ProgressBar(file=sys.stderr)
    outdated = documents.outdated(Counter(), progress.update)
    print(file=sys.stderr)
    if args.check and outdated:
        names = ", ".join(map(tables.shown, outdated))
        raise UsageError(f"outdated: {names}; run `python tools/reproduce.py docs`")
    for path, text in outdated.items():
        write(path, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code."""
    args = parse_args(argv)
    return tool.run(args.run, args)


if __name__ == "__main__":
    sys.exit(main())
