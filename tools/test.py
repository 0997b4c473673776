"""Test a classifier, a detector or a segmentor: ``python tools/test.py CONFIG CHECKPOINT``.

The config's ``default_scope`` says which framework; MMEngine's Runner does the work.
"""

from __future__ import annotations

import argparse
import os
import sys

from mmengine.config import DictAction
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmscalablevit import files
from mmscalablevit.checkpoints import CheckpointError, use_safe_loading
from mmscalablevit.checks import datasets, weights
from mmscalablevit.checks import samples as data_hook
from mmscalablevit.cli import amp, compilation, config, distributed, tta
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation import outputs
from mmscalablevit.evaluation.selection import select_metrics
from mmscalablevit.hooks.data import CheckDataHook
from mmscalablevit.models.pyramid import InputError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test a model.")
    parser.add_argument("config", metavar="CONFIG", help="config file")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    parser.add_argument(
        "--eval",
        nargs="+",
        metavar="METRIC",
        help="compute just these: accuracy, bbox, segm, proposal, PQ, mIoU, mDice, mFscore; "
        "without it what the config lists",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the results: a .json file (classification; detection in COCO's format), "
        "a directory of label images (segmentation), or a .pkl file (all tasks)",
    )
    parser.add_argument(
        "--show-dir", metavar="DIR", help="save pictures of the predictions beside the truth"
    )
    parser.add_argument(
        "--tta", "--aug-test", action="store_true", help="average over augmented copies"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    config.add_common_arguments(parser)
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    """Test as the command line says.

    Raises:
        UsageError: An option does not fit the config or the machine.
        CheckpointError: The checkpoint cannot be used.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    if cfg.get("test_dataloader") is None or cfg.get("test_cfg") is None:
        raise UsageError(f"config {args.config} has no test_dataloader or no test_cfg")
    weights.check_backbone(cfg, weights=False)
    datasets.require_data(cfg, "test_dataloader")
    if args.eval:
        cfg.test_evaluator = select_metrics(cfg, args.eval)
    config.set_work_dir(cfg, args.config, args.work_dir)
    files.ensure_writable(cfg.work_dir)
    written = outputs.add_output(cfg, args.out) if args.out else []
    hooks = [{"type": "MatchingCheckpointHook"}]
    if args.show_dir:
        files.ensure_writable(args.show_dir)
        hooks.append({"type": "SavePicturesHook", "out_dir": args.show_dir})
        written.append(args.show_dir)
    if args.tta:
        tta.enable_tta(cfg)
    if args.amp:
        amp.test_in_mixed_precision(cfg, args.amp)
    weights.load_weights_file(args.checkpoint)  # a bad file is told before the data sets are read
    cfg.load_from, cfg.resume = args.checkpoint, False
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), *hooks]
    distributed.set_up(cfg, args.launcher)
    runner = Runner.from_cfg(cfg)
    data_hook.require_samples(runner, "test")
    runner.register_hook(CheckDataHook(cfg))
    if args.amp and cfg.get("default_scope") == "mmdet":
        amp.keep_boxes_in_float32(runner.model)
    if args.compile:
        compilation.compile_backbone(runner.model, inference=True)
    metrics = {name: float(value) for name, value in runner.test().items()}
    if is_main_process():
        report = {"config": args.config, "checkpoint": args.checkpoint, "metrics": metrics}
        files.write_json(os.path.join(cfg.work_dir, "metrics.json"), report)
        for place in written:
            print(f"written: {place}")
        print("  ".join(f"{name}: {value:g}" for name, value in metrics.items()))


def main() -> None:
    """Test; errors that the user can mend end with a message instead of a traceback."""
    args = parse_args()
    use_safe_loading()
    try:
        test(args)
    except (UsageError, CheckpointError, InputError) as error:
        sys.exit(f"error: {error}")
    except data_hook.DATA_ERRORS as error:
        if (message := data_hook.explain(error, args.config)) is None:
            raise
        sys.exit(f"error: {message}")
    finally:
        distributed.tear_down()


if __name__ == "__main__":
    main()
