"""Train and watch the process: does its memory grow, does it gain open files?

``python tools/soak.py CONFIG --out PICTURE`` trains as tools/train.py does, in one process, and
draws memory and open files over the iterations. Exit code 1 if either grew.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from mmengine.config import DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscalablevit.checkpoints import use_safe_loading
from mmscalablevit.engine import UsageError, config, locking, outputs, resume, training

MIB = 2**20
FEWEST = 8  # records after the settling that the comparison needs
GROWTH = 0.02  # share of the memory by which the last part may exceed the first


class ResourceHook(Hook):
    """Records this process's memory and open files.

    Args:
        interval: Number of iterations from one record to the next.
    """

    priority = "LOWEST"

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.iterations: list[int] = []
        self.memory: list[float] = []  # MiB
        self.files: list[int] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Record."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.iterations.append(runner.iter + 1)
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)
        self.files.append(len(os.listdir("/proc/self/fd")))


def judge(record: ResourceHook, settle: int) -> tuple[str, bool]:
    """Compare the quarter of the run after it has settled with the last quarter.

    Returns:
        The figures in words, and whether nothing grew.
    """
    settled = [i for i, iteration in enumerate(record.iterations) if iteration > settle]
    part = len(settled) // 4
    first, last = settled[:part], settled[-part:]
    before, after = (statistics.median(record.memory[i] for i in part) for part in (first, last))
    files = max(record.files[: settled[0]], default=0), max(record.files[i] for i in settled)
    words = (
        f"memory {before:.0f} MiB after {settle} iterations, {after:.0f} MiB at the end "
        f"({record.iterations[-1]} iterations); open files at most {files[0]}, then {files[1]}"
    )
    return words, after <= before * (1 + GROWTH) and files[1] <= files[0]


def draw(record: ResourceHook, settle: int, path: Path) -> None:
    """Draw memory and open files over the iterations."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
    top.plot(record.iterations, record.memory, color="tab:blue")
    top.set_ylim(0, 1.15 * max(record.memory))
    top.set_ylabel("resident memory (MiB)")
    bottom.plot(record.iterations, record.files, color="tab:orange")
    bottom.set_ylim(0, 1.3 * max(record.files))
    bottom.set_ylabel("open files")
    bottom.set_xlabel("training iteration")
    for axes in (top, bottom):
        axes.axvline(settle, color="grey", linewidth=0.8, linestyle="--")
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def soak(args: argparse.Namespace) -> bool:
    """Train, draw, and say whether nothing grew."""
    cfg = config.load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir
    outputs.ensure_writable(cfg.work_dir)
    locking.lock_work_dir(cfg.work_dir)
    runner = training.ResumableRunner.from_cfg(cfg)
    length = runner.train_loop.max_iters
    if length // args.interval - args.settle // args.interval < FEWEST:
        raise UsageError(
            f"{length} iterations are too few to judge what comes after iteration {args.settle}, "
            f"with a record every {args.interval}: train longer, or lower --settle or --interval"
        )
    record = ResourceHook(args.interval)
    runner.register_hook(record)
    runner.train()
    draw(record, args.settle, Path(args.out))
    words, flat = judge(record, args.settle)
    print(f"{words}: {'flat' if flat else 'GROWING'}; drawn to {args.out}")
    return flat


def main() -> None:
    """Read the command line and soak."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument("--out", metavar="PICTURE", required=True, help="a .png file")
    parser.add_argument("--work-dir", metavar="DIR", default="work_dirs/soak")
    parser.add_argument("--interval", type=int, default=10, help="iterations between records")
    parser.add_argument("--settle", type=int, default=500, help="iterations that do not count")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    use_safe_loading()
    resume.write_files_whole()
    try:
        sys.exit(0 if soak(args) else 1)
    except UsageError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
