"""Train a classifier, a detector or a segmentor: ``python tools/train.py CONFIG``.

The config's ``default_scope`` says which framework; MMEngine's Runner does the work.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.logging import print_log

from mmscalablevit import files
from mmscalablevit.checkpoints import CheckpointError, load_file, use_safe_loading
from mmscalablevit.checks import datasets, weights
from mmscalablevit.checks import samples as data_hook
from mmscalablevit.cli import amp, compilation, config, distributed, provenance
from mmscalablevit.errors import UsageError
from mmscalablevit.hooks.data import CheckDataHook
from mmscalablevit.models.pyramid import InputError
from mmscalablevit.runner import locking, resume
from mmscalablevit.runner import runner as training


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="auto|PATH",
        help="go on from the newest good checkpoint in the work directory, or from PATH",
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate by the batch size"
    )
    parser.add_argument("--seed", type=int, help="of all random numbers")
    parser.add_argument("--deterministic", action="store_true", help="reproducible, but slower")
    parser.add_argument(
        "--ema", action="store_true", help="average the weights; tests use the average"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    config.add_common_arguments(parser)
    return parser.parse_args()


def choose_checkpoint(cfg: Config, resume_from: str | None) -> str | None:
    """Find what the Runner resumes from.

    Returns:
        A checkpoint; None if training starts at the beginning.

    Raises:
        UsageError: The checkpoint is missing or is not one to go on from.
        CheckpointError: It cannot be read.
    """
    if resume_from is None:
        if found := resume.find_checkpoint(cfg.work_dir):
            message = (
                f"{cfg.work_dir} holds checkpoints of an earlier run, the newest is {found}. This "
                "run starts at the beginning and replaces those whose names it uses; to go on from "
                "them instead, stop it and add --resume"
            )
            print_log(message, logger="current", level=logging.WARNING)
        return None
    if resume_from == "auto":
        found = resume.find_checkpoint(cfg.work_dir)
        if found is None:
            print(f"--resume: no checkpoint in {cfg.work_dir}; training starts at the beginning")
        return found
    weights.require_checkpoint(resume_from)
    if "://" not in resume_from and "optimizer" not in load_file(resume_from):
        raise UsageError(
            f"--resume {resume_from}: the file holds weights only, not a training state; "
            f"start from it with --cfg-options load_from={resume_from}"
        )
    return resume_from


def was_restarted() -> bool:
    """Tell whether torchrun or Slurm has started the job anew after a fault.

    Of several torchruns, each counts only the faults of its own machine.
    """
    counts = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return distributed.any_process(any(int(os.environ.get(name, 0)) > 0 for name in counts))


def train(args: argparse.Namespace) -> None:
    """Train as the command line says.

    Raises:
        UsageError: An option does not fit the config or the machine.
        CheckpointError: A checkpoint cannot be used.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    if cfg.get("train_dataloader") is None or cfg.get("train_cfg") is None:
        raise UsageError(f"config {args.config} has no train_dataloader or no train_cfg")
    weights.check_backbone(cfg)
    datasets.require_data(cfg, "train_dataloader", "val_dataloader")
    config.set_work_dir(cfg, args.config, args.work_dir)
    files.ensure_writable(cfg.work_dir)
    distributed.set_up(cfg, args.launcher)
    resume_from = args.resume or ("auto" if was_restarted() else None)
    start = distributed.decide_for_all(lambda: choose_checkpoint(cfg, resume_from))
    if start is not None:
        cfg.resume, cfg.load_from = True, start
    if cfg.get("load_from") and not cfg.get("resume"):
        weights.load_weights_file(cfg.load_from)
    if args.amp:
        amp.train_in_mixed_precision(cfg, args.amp)
    else:
        amp.fit_to_device(cfg)
    if args.auto_scale_lr:
        config.scale_learning_rate(cfg)
    if args.ema:
        config.average_weights(cfg)
    if args.seed is not None or args.deterministic:
        randomness = cfg.setdefault("randomness", ConfigDict())
        randomness.seed = args.seed if args.seed is not None else randomness.get("seed")
        randomness.deterministic = args.deterministic
    with locking.lock_work_dir(cfg.work_dir):
        train_alone(cfg, args)


def train_alone(cfg: Config, args: argparse.Namespace) -> None:
    """Train in a work directory that no other process trains in.

    Raises:
        UsageError: An option does not fit the config or the machine.
        CheckpointError: A checkpoint cannot be used.
    """
    if int(os.environ.get("RANK", 0)) == 0:  # which holds the lock
        resume.remove_leftovers(cfg.work_dir)
    if cfg.get("resume") and "://" not in cfg.load_from:
        provenance.report_changes(cfg, load_file(cfg.load_from))
    runner = training.ResumableRunner.from_cfg(cfg)
    if cfg.get("resume"):
        resume.require_same_model(runner, cfg.load_from)
    provenance.record(runner, args.config)
    data_hook.require_samples(runner, "train")
    runner.register_hook(CheckDataHook(cfg))
    if cfg.get("load_from") and not cfg.get("resume") and "://" not in cfg.load_from:
        weights.require_start(runner.model, cfg.load_from)
    if args.amp and cfg.get("default_scope") == "mmdet":
        amp.keep_boxes_in_float32(runner.model)
    if args.compile:
        compilation.compile_backbone(runner.model)
    runner.train()


def main() -> None:
    """Train; errors that the user can mend end with a message instead of a traceback."""
    args = parse_args()
    use_safe_loading()
    try:
        train(args)
    except (UsageError, CheckpointError, InputError) as error:
        sys.exit(f"error: {error}")
    except data_hook.DATA_ERRORS as error:
        message = data_hook.explain(error, args.config) or resume.explain_disk_error(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")
    finally:
        distributed.tear_down()


if __name__ == "__main__":
    main()
