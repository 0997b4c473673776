"""How trainings and tests start: all that is done before the first iteration, in its order.

What can be wrong is looked for before what takes long: the config before the files that it names,
these before data sets, data sets before a step. A file is read once, and its content handed on.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mmscalablevit.checkpoints import Checkpoint
from mmscalablevit.checks import datasets, failures, samples, weights
from mmscalablevit.cli import amp, compilation, config, distributed, options, provenance, tta
from mmscalablevit.cli.exported import read_exported
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation import outputs
from mmscalablevit.evaluation.selection import select_metrics
from mmscalablevit.export import files
from mmscalablevit.files import ensure_writable, write_json
from mmscalablevit.hooks.data import CheckDataHook
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from mmscalablevit.hooks.pictures import SavePicturesHook
from mmscalablevit.models.wrappers import bare_model
from mmscalablevit.runner import locking, resume
from mmscalablevit.runner.runner import LoadedRunner, ResumableRunner


def train(args: argparse.Namespace) -> None:
    """Train as the command line of ``tools/train.py`` says.

    Raises:
        UsageError: It does not fit the config or the machine, or a file cannot be used.
    """
    with explained_errors(args, training=True), contextlib.ExitStack() as held:
        prepare_training(args, held).train()


def prepare_training(args: argparse.Namespace, held: contextlib.ExitStack) -> ResumableRunner:
    """Do what comes before a training; ``held`` takes what is to be given back after it."""
    cfg = config.load_config(args.config, args.cfg_options)
    config.require_entries(cfg, args.config, "train_dataloader", "train_cfg")
    options.add_recorders(cfg, args.log)
    pretrained = weights.check_backbone(cfg)
    datasets.require_data(cfg, "train_dataloader", "val_dataloader")
    config.set_work_dir(cfg, args.config, args.work_dir)
    ensure_writable(cfg.work_dir)
    distributed.set_up(cfg, args.launcher)
    start = choose_start(cfg, args.resume)
    options.apply_to_training(cfg, args)
    held.enter_context(locking.lock_work_dir(cfg.work_dir))
    if is_main_process():
        resume.remove_leftovers(cfg.work_dir)
    content = provenance.config_content(cfg.to_dict())
    if start is not None and cfg.resume:
        provenance.report_changes(content, start)
        keep_seed(cfg, start)

    runner = ResumableRunner.from_cfg(cfg)
    runner.loaded = start
    if start is not None and cfg.resume:
        resume.require_same_model(runner, start)
    elif start is not None:
        weights.require_start(runner.model, start)
    elif cfg.resume:  # from an address
        runner.register_hook(MatchingCheckpointHook())
    weights.hand_on(runner, pretrained)
    provenance.record(runner, args.config, content)
    samples.require_samples(runner, "train", start if cfg.resume else None)
    runner.register_hook(CheckDataHook(cfg))
    adapt_model(runner, args)
    return runner


def test(args: argparse.Namespace) -> tuple[dict[str, float], list[str]]:
    """Test as the command line of ``tools/test.py`` says.

    Returns:
        The metrics, which are also in the work directory, and the patterns of the paths that were
        written.

    Raises:
        UsageError: It does not fit the config or the machine, or a file cannot be used.
    """
    with explained_errors(args):
        runner, written = prepare_test(args)
        metrics = {name: float(value) for name, value in runner.test().items()}
    if is_main_process():
        report = {"config": args.config, "checkpoint": args.checkpoint, "metrics": metrics}
        write_json(os.path.join(runner.work_dir, "metrics.json"), report)
    return metrics, written


def prepare_test(args: argparse.Namespace) -> tuple[LoadedRunner, list[str]]:
    """Do what comes before a test.

    Args:
        args: The command line of ``tools/test.py``.

    Returns:
        The run, and the patterns of the paths that it will write.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    exported = read_exported(args.checkpoint, cfg)
    if exported is None:
        weights.require_checkpoint(args.checkpoint)
    elif args.amp or args.compile:
        raise UsageError("--amp and --compile are for models in PyTorch, not for exported files")
    config.require_entries(cfg, args.config, "test_dataloader", "test_cfg")
    weights.check_backbone(cfg, weights=False)
    datasets.require_data(cfg, "test_dataloader")
    if args.eval:
        cfg.test_evaluator = select_metrics(cfg, args.eval)
    config.set_work_dir(cfg, args.config, args.work_dir)
    ensure_writable(cfg.work_dir)
    written = outputs.add_output(cfg, args.out) if args.out else []
    outputs.leave_out_metrics(cfg, pictures=args.show_dir is not None)
    if args.tta:
        tta.enable_tta(cfg)
    if args.amp:
        amp.test_in_mixed_precision(cfg, args.amp)
    if exported is None:
        checkpoint = weights.read_weights(args.checkpoint)
    else:
        meta = {"dataset_meta": exported.metadata["dataset_meta"]}
        checkpoint = Checkpoint(args.checkpoint, {"meta": meta})
    cfg.load_from, cfg.resume = args.checkpoint if exported is None else None, False
    distributed.set_up(cfg, args.launcher)

    runner = LoadedRunner.from_cfg(cfg)
    if exported is None:
        runner.loaded = checkpoint
    else:
        files.put_in_place(bare_model(runner.model), exported)
    samples.require_samples(runner, "test", checkpoint)
    runner.register_hook(MatchingCheckpointHook())
    runner.register_hook(CheckDataHook(cfg))
    if args.show_dir:
        ensure_writable(args.show_dir)
        runner.register_hook(SavePicturesHook(args.show_dir))
        written.append(args.show_dir)
    adapt_model(runner, args, inference=True)
    return runner, written


def adapt_model(runner: LoadedRunner, args: argparse.Namespace, inference: bool = False) -> None:
    """Do to the model what ``--amp`` and ``--compile`` ask for."""
    if args.amp and runner.cfg.get("default_scope") == "mmdet":
        amp.keep_boxes_in_float32(runner.model)
    if args.compile:
        compilation.compile_backbone(runner.model, inference=inference)


def choose_start(cfg: Config, wanted: str | None) -> Checkpoint | None:
    """Find what a training starts from, in the first process for all, and read it.

    The config's ``resume`` and ``load_from`` are set. Wanted is what ``--resume`` says.

    Returns:
        The checkpoint to resume, or to begin with; None if training starts at the beginning, and
        of an address, which the Runner fetches.

    Raises:
        UsageError: It is missing, cannot be read, or is not one to go on from.
    """
    if wanted is None and cfg.get("resume"):
        wanted = cfg.get("load_from") or "auto"
    if wanted is None and was_restarted():
        wanted = "auto"
    start: Checkpoint | None = None

    def choose() -> str | None:
        nonlocal start
        if wanted is None:
            resume.note_earlier_run(cfg.work_dir)
            return None
        if wanted != "auto":
            start = weights.read_weights(wanted)
            if start is not None and "optimizer" not in start.content:
                raise UsageError(
                    f"--resume {wanted}: the file holds weights only, not a training state; "
                    f"start from it with --cfg-options load_from={wanted}"
                )
            return wanted
        start = resume.find_checkpoint(cfg.work_dir)
        if start is None:
            message = f"--resume: no checkpoint in {cfg.work_dir}; training starts at the beginning"
            print_log(message, logger="current")
        return None if start is None else start.path

    path = distributed.decide_for_all(choose)
    cfg.resume = path is not None
    cfg.load_from = path or cfg.get("load_from")
    if start is None and cfg.load_from:
        start = weights.read_weights(cfg.load_from)
    return start


def was_restarted() -> bool:
    """Tell whether torchrun or Slurm has started the job anew after a fault.

    Of several torchruns, each counts only the faults of its own machine.
    """
    counts = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return distributed.any_process(any(int(os.environ.get(name, 0)) > 0 for name in counts))


def keep_seed(cfg: Config, start: Checkpoint) -> None:
    """Let a resumed training have the seed that it began with, by which images are shuffled."""
    seed = start.content.get("meta", {}).get("seed")
    if seed is None:
        return
    randomness = cfg.setdefault("randomness", ConfigDict())
    if randomness.get("seed") not in (None, seed):
        message = f"--resume: the seed stays {seed}, as in {start.path}, not {randomness.seed}"
        print_log(message, logger="current", level=logging.WARNING)
    randomness.seed = seed


@contextlib.contextmanager
def explained_errors(args: argparse.Namespace, training: bool = False) -> Iterator[None]:
    """Say of faults in data and config, and in a training of those of the disk, what they ask for.

    Raises:
        UsageError: There is such a fault.
    """
    try:
        yield
    except UsageError:
        raise
    except failures.DATA_ERRORS as error:
        disk = resume.explain_disk_error(error) if training else None
        read = os.path.isfile(args.config)  # it may be gone by now
        cfg = config.load_config(args.config, args.cfg_options) if read else None
        if message := failures.explain(error, args.config, cfg) or disk:
            raise UsageError(message) from error
        raise
