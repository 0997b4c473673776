"""The paper's tables: what is printed, what is counted, and the runs behind them.

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
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.utils import ProgressBar

from mmscalablevit import files
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import (
    collecting,
    documents,
    launching,
    plan,
    report,
    script,
    state,
    tables,
)
from mmscalablevit.reproduction.counting import Counter, tables_of_configs
from mmscalablevit.reproduction.published import load_tables, select_tables

Commands = argparse._SubParsersAction


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_list(commands)
    add_count(commands)
    add_launch(commands)
    add_collect(commands)
    add_docs(commands)
    return parser.parse_args(argv)


def add_tables_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names another file of tables."""
    parser.add_argument(
        "--tables", type=Path, metavar="YML", help="tables of your own; default: the paper's"
    )


def add_work_dirs_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the directory of the runs."""
    parser.add_argument(
        "--work-dirs",
        type=Path,
        default=Path("work_dirs"),
        metavar="DIR",
        help="default: work_dirs",
    )


def write_out(text: str, out: Path | None) -> None:
    """Print a text, or write it to a file as a whole."""
    if out is None:
        print(text, end="")
        return
    files.write_whole(out, text.encode())
    print(f"written to {out}")


def add_list(commands: Commands) -> None:
    """Add the subcommand ``list``."""
    parser = commands.add_parser("list", help="rows with published figures, configs and states")
    parser.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    add_tables_option(parser)
    add_work_dirs_option(parser)
    parser.set_defaults(run=list_rows)


def list_rows(args: argparse.Namespace) -> None:
    """Print tables as published, and what there is of each row here."""
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    rows = [(table, row) for table in chosen for row in table.rows]
    jobs = state.slurm_jobs()
    states = {
        training.run.config: state.examine(training, jobs).state.value
        for training in plan.plan(known, rows, args.work_dirs)
    }
    print("\n\n".join(tables.list_table(table, states) for table in chosen))


def add_count(commands: Commands) -> None:
    """Add the subcommand ``count``."""
    parser = commands.add_parser("count", help="parameters and FLOPs beside the published ones")
    parser.add_argument(
        "names", nargs="*", metavar="TABLE|CONFIG", help="tables or config files; default: all"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result to a file")
    add_tables_option(parser)
    parser.set_defaults(run=count)


def count(args: argparse.Namespace) -> None:
    """Count the models of tables' rows, or of configs."""
    known = load_tables(args.tables)
    configs = [Path(name) for name in args.names if name.endswith(".py")]
    names = [name for name in args.names if not name.endswith(".py")]
    if args.out and not args.out.absolute().parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no such folder")
    wanted = select_tables(known, names) if names or not configs else []
    wanted += tables_of_configs(known.values(), configs)
    counter, texts = Counter(), []
    progress = ProgressBar(sum(len(table.rows) for table in wanted), file=sys.stderr)
    for table in wanted:
        counts = {}
        for row in table.rows:
            counts[row.name] = counter.count_row(table, row)
            progress.update()
        texts.append(tables.count_table(table, counts))
    print(file=sys.stderr)
    write_out("\n\n".join([*texts, tables.LEGEND]) + "\n", args.out)


def add_launch(commands: Commands) -> None:
    """Add the subcommand ``launch``."""
    parser = commands.add_parser("launch", help="start the runs that a table lacks")
    parser.add_argument("names", nargs="+", metavar="TABLE")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="default: all that have runs")
    parser.add_argument(
        "--launcher",
        choices=("pytorch", "slurm", "print"),
        default="pytorch",
        help="pytorch: one run after the other on this machine; slurm: as jobs; print: a script "
        "that does the one, or with --partition the other",
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="of each run; default: as many as published"
    )
    parser.add_argument("--partition", metavar="P", help="of Slurm")
    add_tables_option(parser)
    add_work_dirs_option(parser)
    parser.set_defaults(run=launch)


def launch(args: argparse.Namespace) -> None:
    """Start the runs that tables lack, or print the script that does.

    Raises:
        UsageError: The options do not fit each other, the tables or the machine.
    """
    if args.gpus is not None and args.gpus < 1:
        raise UsageError(f"--gpus {args.gpus}: takes a number from 1 on")
    if args.launcher == "slurm" and not args.partition:
        raise UsageError("--launcher slurm needs --partition; sinfo lists the partitions")
    if args.launcher == "pytorch" and args.partition:
        raise UsageError("--partition is for --launcher slurm or print")
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    trainings = plan.plan(known, plan.select_rows(chosen, args.rows), args.work_dirs)
    jobs = state.slurm_jobs()
    if args.launcher == "slurm" and jobs is None:
        raise UsageError("--launcher slurm: there is no squeue here; use --launcher print")
    tools = Path(__file__).resolve().parent
    options = launching.Options(tools, args.gpus, args.partition)
    found = launching.prepare(chosen, trainings, options, jobs)
    for note in found.notes:
        print(note, file=sys.stderr)
    if found.script is None:
        print("nothing is to be started", file=sys.stderr)
    elif args.launcher == "print":
        print(found.script, end="")
    else:
        if args.launcher == "pytorch":
            require_gpus(found.gpus)
        os.environ.setdefault("PYTHON", sys.executable)
        os.execvp("bash", ["bash", "-c", found.script])


def require_gpus(wanted: int) -> None:
    """Check that this machine has as many GPUs as a run takes, unless it has none at all.

    Raises:
        UsageError: It has fewer.
    """
    there = torch.cuda.device_count()
    if 0 < there < wanted:
        raise UsageError(
            f"a run takes {wanted} GPUs as published, and this machine has {there}: --gpus {there} "
            "trains on those, with the learning rate scaled"
        )
    if there == 0:
        print(f"no GPU here: {wanted} process(es) on the CPU", file=sys.stderr)


def add_collect(commands: Commands) -> None:
    """Add the subcommand ``collect``."""
    parser = commands.add_parser("collect", help="write tables with published and own figures")
    parser.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: tables in the directory of the runs"
    )
    add_tables_option(parser)
    add_work_dirs_option(parser)
    parser.set_defaults(run=collect)


def collect(args: argparse.Namespace) -> None:
    """Write tables with what has been measured, as Markdown, CSV and a web page.

    Raises:
        UsageError: They cannot be written.
    """
    known = load_tables(args.tables)
    chosen = select_tables(known, args.names)
    out = args.out or args.work_dirs / "tables"
    if not args.work_dirs.is_dir():
        print(f"there is no folder {args.work_dirs}: every run is missing", file=sys.stderr)
    files.ensure_writable(out)
    reports = collecting.collect(known, chosen, args.work_dirs, state.slurm_jobs(), out)
    name = "_".join(["table", *args.names]) if args.names else "tables"
    for path in report.write_reports(reports, out, name):
        print(f"written: {path}")


def add_docs(commands: Commands) -> None:
    """Add the subcommand ``docs``."""
    parser = commands.add_parser("docs", help="write the tables of READMEs and the metafiles")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is outdated")
    parser.set_defaults(run=write_docs)


def write_docs(args: argparse.Namespace) -> None:
    """Bring the tables of the READMEs and the metafiles up to date.

    Raises:
        UsageError: With ``--check``, a file is not.
    """
    progress = ProgressBar(file=sys.stderr)
    outdated = documents.outdated(Counter(), progress.update)
    print(file=sys.stderr)
    if args.check and outdated:
        names = ", ".join(map(script.shown, outdated))
        raise UsageError(f"outdated: {names}; run `python tools/reproduce.py docs`")
    for path, text in outdated.items():
        write_out(text, path)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand; errors that the user can mend end with a message, not a traceback."""
    args = parse_args(argv)
    try:
        args.run(args)
    except UsageError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
