"""Pictures of what a model does.

    python tools/visualize.py predictions CONFIG CHECKPOINT --out predictions.png

draws predictions on random images of the test set beside the truth: labels, boxes and masks, or
label maps, by the config's task.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mmengine.config import DictAction
from mmengine.runner import Runner, load_checkpoint

from mmscalablevit.checkpoints import CheckpointError, use_safe_loading
from mmscalablevit.engine import UsageError, config, gallery, outputs


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Pictures of what a model does.")
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    predictions = commands.add_parser("predictions", help="predictions beside the truth")
    predictions.add_argument("config", metavar="CONFIG", help="config file")
    predictions.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    predictions.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    predictions.add_argument("--count", type=int, help="images, by default 40 (6 for dense tasks)")
    predictions.add_argument("--seed", type=int, default=0, help="of the choice of images")
    predictions.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    predictions.set_defaults(run=draw_predictions)
    return parser.parse_args()


def draw_predictions(args: argparse.Namespace) -> None:
    """Draw predictions on random test images.

    Raises:
        UsageError: The config or the place of the picture cannot be used.
        CheckpointError: The checkpoint cannot be used.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    config.require_checkpoint(args.checkpoint)
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: the picture is a PNG, name it so")
    outputs.ensure_writable(args.out.parent)
    count = args.count or (40 if cfg.default_scope == "mmpretrain" else 6)
    cfg.log_level = "WARNING"
    if cfg.model.get("backbone"):
        cfg.model.backbone.init_cfg = None  # the checkpoint has all weights
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        runner = Runner.from_cfg(cfg)
        load_checkpoint(runner.model, args.checkpoint, map_location="cpu")
        shown = gallery.save_predictions(runner, args.out, count, args.seed)
    print(f"{args.out}: {shown}")


def main() -> None:
    """Draw; errors that the user can mend end with a message instead of a traceback."""
    args = parse_args()
    use_safe_loading()
    try:
        args.run(args)
    except (UsageError, CheckpointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
