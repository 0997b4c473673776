"""Pictures of what a model does.

    python tools/visualize.py predictions CONFIG CHECKPOINT --out predictions.png

draws predictions on random images of the test set beside the truth: labels, boxes and masks, or
label maps, by the config's task. Images of your own are for tools/predict.py.

    python tools/visualize.py features IMAGE CONFIG:CHECKPOINT CONFIG:CHECKPOINT --out features.png

draws the feature maps after chosen blocks of several models, as the paper's Figures 1 and 7 do.

    python tools/visualize.py tokens IMAGE CONFIG:CHECKPOINT --out tokens.png

draws an STViT's super tokens: the pixels that belong to each of them as a coloured region.

    python tools/visualize.py curves WORK_DIR WORK_DIR --names loss accuracy/top1 --out curves.png

draws the learning curves of trainings, over all their starts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

from mmscalablevit import files
from mmscalablevit.checks import datasets, weights
from mmscalablevit.cli import config, tool
from mmscalablevit.cli.building import load_model
from mmscalablevit.errors import UsageError
from mmscalablevit.visualization import curves, features, predictions, super_tokens


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Pictures of what a model does.")
    commands = parser.add_subparsers(required=True, metavar="WHAT")

    command = commands.add_parser("predictions", help="predictions beside the truth")
    command.add_argument("config", metavar="CONFIG", help="config file")
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of that config")
    command.add_argument("--count", type=int, help="test images, by default 40 (6 for dense tasks)")
    command.add_argument("--seed", type=int, default=0, help="of the choice of test images")
    command.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    command.set_defaults(run=draw_predictions)

    command = commands.add_parser("features", help="feature maps after blocks")
    command.add_argument("image", type=Path, metavar="IMAGE", help="image file")
    command.add_argument(
        "models",
        nargs="+",
        metavar="CONFIG[:CHECKPOINT]",
        help="a row of the picture each; without a checkpoint, its weights are random",
    )
    command.add_argument(
        "--blocks",
        nargs="+",
        default=["0.-1", "1.-1", "2.-1"],
        metavar="STAGE.BLOCK",
        help="counted from 0, negative blocks from the last; default: the last of three stages",
    )
    command.add_argument("--titles", nargs="+", help="of the models; default: the configs' names")
    command.add_argument(
        "--channels",
        choices=list(features.REDUCTIONS),
        default="mean",
        help="what is shown of a position: the mean of its channels, or the strongest channel",
    )
    command.set_defaults(run=draw_features)

    command = commands.add_parser("tokens", help="super tokens as coloured regions")
    command.add_argument("image", type=Path, metavar="IMAGE", help="image file")
    command.add_argument(
        "model",
        metavar="CONFIG[:CHECKPOINT]",
        help="config with an STViT; without a checkpoint, its weights are random",
    )
    command.set_defaults(run=draw_tokens)

    command = commands.add_parser("curves", help="learning curves")
    command.add_argument(
        "work_dirs", nargs="+", type=Path, metavar="WORK_DIR", help="of a training each"
    )
    command.add_argument("--names", nargs="+", default=["loss"], help="what to draw, default: loss")
    command.add_argument(
        "--titles", nargs="+", help="of the trainings; default: the folders' names"
    )
    command.set_defaults(run=draw_curves)

    for name, command in commands.choices.items():
        command.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
        if name in ("features", "tokens"):
            command.add_argument("--size", metavar="HxW", help="default: the image's own")
    return parser.parse_args()


def read_model(text: str) -> tuple[Config, str | None]:
    """Read a config, and find its checkpoint, from ``CONFIG[:CHECKPOINT]``."""
    path, checkpoint = features.split_model(text)
    cfg = config.load_config(path)
    if checkpoint is None:
        print(f"{path}: no checkpoint is given, its weights are random", file=sys.stderr)
    else:
        weights.require_checkpoint(checkpoint)
    return cfg, checkpoint


def draw_predictions(args: argparse.Namespace) -> str:
    """Draw predictions on random test images."""
    cfg = config.load_config(args.config, args.cfg_options)
    weights.require_checkpoint(args.checkpoint)
    if args.count is not None and args.count < 1:
        raise UsageError(f"--count {args.count}: takes a number from 1 on")
    cfg.test_evaluator = None  # nothing is computed, so that its files may be missing
    datasets.require_data(cfg, "test_dataloader")
    files.ensure_writable(args.out.parent)
    return predictions.draw_test_images(cfg, args.checkpoint, args.out, args.count, args.seed)


def draw_features(args: argparse.Namespace) -> str:
    """Draw feature maps of several models side by side."""
    image = features.read_image(args.image, args.size)
    places = [features.parse_place(text) for text in args.blocks]
    titles = read_titles(args, [Path(features.split_model(text)[0]).stem for text in args.models])
    chosen = [read_model(text) for text in args.models]
    files.ensure_writable(args.out.parent)
    rows = []
    for title, (cfg, checkpoint) in zip(titles, chosen, strict=True):
        model, _ = load_model(cfg, checkpoint)
        maps = features.compute_features(model, image, places, cfg.filename)
        rows.append((title if checkpoint else f"{title}\n(random weights)", maps))
    features.save_features(rows, places, image, args.out, args.channels)
    return f"{len(rows)} models, maps after {len(places)} blocks"


def read_titles(args: argparse.Namespace, names: list[str]) -> list[str]:
    """The titles that are given, or else the names."""
    if args.titles and len(args.titles) != len(names):
        raise UsageError(f"--titles names {len(args.titles)}, and there are {len(names)} to name")
    return args.titles or names


def draw_curves(args: argparse.Namespace) -> str:
    """Draw the learning curves of trainings."""
    titles = read_titles(args, [path.resolve().name for path in args.work_dirs])
    files.ensure_writable(args.out.parent)
    curves.draw_curves(list(zip(titles, args.work_dirs, strict=True)), args.names, args.out)
    return f"{', '.join(args.names)} of {len(titles)} training(s)"


def draw_tokens(args: argparse.Namespace) -> str:
    """Draw the super tokens of each block that has them."""
    image = features.read_image(args.image, args.size)
    cfg, checkpoint = read_model(args.model)
    files.ensure_writable(args.out.parent)
    model, _ = load_model(cfg, checkpoint)
    found = super_tokens.assign_image(model, image)
    super_tokens.draw_super_tokens(image, found, args.out)
    return f"super tokens of {len(found)} blocks"


def draw(args: argparse.Namespace) -> None:
    """Draw, and say what is on the picture."""
    if args.out.suffix != ".png":
        raise UsageError(f"--out {args.out}: the picture is a PNG, name it so")
    print(f"{args.out}: {args.run(args)}")


if __name__ == "__main__":
    sys.exit(tool.run(draw, parse_args()))
