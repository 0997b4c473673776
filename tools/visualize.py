"""Pictures of what a model does.

    python tools/visualize.py predictions CONFIG CHECKPOINT --out predictions.png

draws predictions on random images of the test set beside the truth: labels, boxes and masks, or
label maps, by the config's task. With image files behind CHECKPOINT it draws predictions on these,
as in the paper's Figure 5, and needs no data set.

    python tools/visualize.py features IMAGE CONFIG:CHECKPOINT CONFIG:CHECKPOINT --out features.png

draws the feature maps after chosen blocks of several models, as the paper's Figures 1 and 7 do.

    python tools/visualize.py tokens IMAGE CONFIG:CHECKPOINT --out tokens.png

draws an STViT's super tokens: the pixels that belong to each of them as a coloured region.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmscalablevit import files
from mmscalablevit.checkpoints import CheckpointError, use_safe_loading
from mmscalablevit.checks import datasets, weights
from mmscalablevit.cli import config
from mmscalablevit.errors import UsageError
from mmscalablevit.hooks.matching import MatchingCheckpointHook
from mmscalablevit.visualization import features, gallery, super_tokens
from mmscalablevit.visualization import images as image_predictions


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Pictures of what a model does.")
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    predictions = commands.add_parser("predictions", help="predictions beside the truth")
    predictions.add_argument("config", metavar="CONFIG", help="config file")
    predictions.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    predictions.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="by default images of the test set"
    )
    predictions.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    predictions.add_argument(
        "--count", type=int, help="test images, by default 40 (6 for dense tasks)"
    )
    predictions.add_argument("--seed", type=int, default=0, help="of the choice of test images")
    predictions.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    predictions.set_defaults(run=draw_predictions)
    add_features_arguments(commands.add_parser("features", help="feature maps after blocks"))
    add_tokens_arguments(commands.add_parser("tokens", help="super tokens as coloured regions"))
    return parser.parse_args()


def add_tokens_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``tokens``."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file")
    parser.add_argument(
        "model",
        metavar="CONFIG[:CHECKPOINT]",
        help="config with an STViT; without a checkpoint, its weights are random",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    parser.add_argument("--size", metavar="HxW", help="size to bring the image to; its own")
    parser.set_defaults(run=draw_tokens)


def draw_tokens(args: argparse.Namespace) -> None:
    """Draw the super tokens of each block that has them.

    Raises:
        UsageError: The image, the model or the place of the picture cannot be used.
        CheckpointError: The checkpoint cannot be used.
    """
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: the picture is a PNG, name it so")
    image = features.read_image(args.image, args.size)
    path, checkpoint = features.split_model(args.model)
    cfg = config.load_config(path)
    if checkpoint is None:
        print(f"{path}: no checkpoint is given, its weights are random", file=sys.stderr)
    else:
        weights.require_checkpoint(checkpoint)
    files.ensure_writable(args.out.parent)
    MMLogger.get_instance("visualize", log_level="WARNING")
    found = super_tokens.assign_image(features.build_model(cfg, checkpoint), image)
    super_tokens.draw_super_tokens(image, found, args.out)
    print(f"{args.out}: super tokens of {len(found)} blocks")


def add_features_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``features``."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image file")
    parser.add_argument(
        "models",
        nargs="+",
        metavar="CONFIG[:CHECKPOINT]",
        help="a row of the picture each; without a checkpoint, its weights are random",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    parser.add_argument(
        "--blocks",
        nargs="+",
        default=["0.-1", "1.-1", "2.-1"],
        metavar="STAGE.BLOCK",
        help="counted from 0, negative blocks from the last; default: the last of three stages",
    )
    parser.add_argument("--titles", nargs="+", help="of the models; default: the configs' names")
    parser.add_argument("--size", metavar="HxW", help="size to bring the image to; its own")
    parser.add_argument(
        "--channels",
        choices=list(features.REDUCTIONS),
        default="mean",
        help="what is shown of a position: the mean of its channels, or the strongest channel",
    )
    parser.set_defaults(run=draw_features)


def draw_features(args: argparse.Namespace) -> None:
    """Draw feature maps of several models side by side.

    Raises:
        UsageError: The image, a model, a block or the place of the picture cannot be used.
        CheckpointError: A checkpoint cannot be used.
    """
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: the picture is a PNG, name it so")
    image = features.read_image(args.image, args.size)
    places = [features.parse_place(text) for text in args.blocks]
    titles = args.titles or [Path(features.split_model(text)[0]).stem for text in args.models]
    if len(titles) != len(args.models):
        raise UsageError(f"--titles names {len(titles)} models, and there are {len(args.models)}")
    chosen = []
    for text in args.models:
        path, checkpoint = features.split_model(text)
        chosen.append((config.load_config(path), checkpoint))
        if checkpoint is not None:
            weights.require_checkpoint(checkpoint)
    files.ensure_writable(args.out.parent)
    MMLogger.get_instance("visualize", log_level="WARNING")
    rows = []
    for title, (cfg, checkpoint) in zip(titles, chosen, strict=True):
        if checkpoint is None:
            print(f"{title}: no checkpoint is given, its weights are random", file=sys.stderr)
            title += "\n(random weights)"
        model = features.build_model(cfg, checkpoint)
        maps = features.compute_features(model, image, places, cfg.filename)
        rows.append((title, maps))
    features.save_features(rows, places, image, args.out, args.channels)
    print(f"{args.out}: {len(rows)} models, maps after {len(places)} blocks")


def draw_predictions(args: argparse.Namespace) -> None:
    """Draw predictions on images of the user's, or on random test images.

    Raises:
        UsageError: The config, an image or the place of the picture cannot be used.
        CheckpointError: The checkpoint cannot be used.
    """
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: the picture is a PNG, name it so")
    if args.count is not None and args.images:
        raise UsageError("--count chooses test images, and you have named images: leave it out")
    if args.count is not None and args.count < 1:
        raise UsageError(f"--count {args.count}: takes a number from 1 on")
    image_predictions.check_images(args.images)
    if not args.images:
        datasets.require_data(cfg, "test_dataloader")
    files.ensure_writable(args.out.parent)
    count = args.count or (40 if cfg.default_scope == "mmpretrain" else 6)
    cfg.log_level = "WARNING"
    if cfg.model.get("backbone"):
        cfg.model.backbone.init_cfg = None  # the checkpoint has all weights
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        if args.images:
            runner, steps = image_predictions.build_runner(cfg)
        else:
            runner = Runner.from_cfg(cfg)
        runner.register_hook(MatchingCheckpointHook())
        runner.load_checkpoint(args.checkpoint)
        if args.images:
            shown = image_predictions.save_image_predictions(runner, steps, args.images, args.out)
        else:
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
