"""Write label maps for token labelling, with a classifier as teacher.

    python tools/make_token_labels.py CONFIG CHECKPOINT data/imagenet/train data/imagenet/labels

writes one file for each image, LABEL_ROOT/CLASS/NAME.pt for IMAGE_ROOT/CLASS/NAME.JPEG: the
teacher's largest logits at each position of its last map, and their classes. Images that have a map
already are left out: the same command goes on where it was stopped. CONFIG may be timm/NAME.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.utils import ProgressBar

from mmscalablevit import files
from mmscalablevit.cli import tool
from mmscalablevit.cli.start import explained_errors
from mmscalablevit.errors import UsageError
from mmscalablevit.labelling.making import Maker, Settings
from mmscalablevit.labelling.teachers import load_teacher


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="config of the teacher, or timm/NAME")
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="the teacher's weights; 'pretrained' for those that timm fetches",
    )
    parser.add_argument("image_root", type=Path, metavar="IMAGE_ROOT", help="training images")
    parser.add_argument("label_root", type=Path, metavar="LABEL_ROOT", help="folder to write to")
    parser.add_argument(
        "--img-size",
        type=int,
        metavar="N",
        help="side of the images that the teacher takes; by default that of its test. A map has a "
        "cell for each position of its last map",
    )
    parser.add_argument("--topk", type=int, default=5, help="classes of a cell, by default 5")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--device", default=get_device(), help="by default %(default)s")
    parser.add_argument("--amp", action="store_true", help="half precision")
    parser.add_argument(
        "--center-crop",
        action="store_true",
        help="label the central square alone, as the released maps do (train with map_region="
        "'center'), instead of the whole image, squeezed",
    )
    parser.add_argument("--overwrite", action="store_true", help="write existing maps anew")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    args = parser.parse_args()
    if min(args.topk, args.batch_size, args.img_size or 1) < 1 or args.workers < 0:
        parser.error("--topk, --batch-size and --img-size must be at least 1, --workers at least 0")
    return args


def make(args: argparse.Namespace) -> None:
    """Make the label maps that are missing; images that cannot be read end it with a message.

    Raises:
        UsageError: The work cannot be done.
    """
    MMLogger.get_instance("make_token_labels", log_level="WARNING")
    with explained_errors(args):
        make_maps(args)


def make_maps(args: argparse.Namespace) -> None:
    """Make the label maps that are missing.

    Raises:
        UsageError: The teacher, the images or the folder of the maps cannot be used.
    """
    model, tested = load_teacher(args.config, args.checkpoint, args.cfg_options)
    size = args.img_size or tested
    if size is None:
        raise UsageError("the teacher's config names no size of its test images: give --img-size")
    files.ensure_writable(args.label_root)
    settings = Settings(
        size,
        args.topk,
        args.batch_size,
        args.workers,
        args.center_crop,
        args.amp,
        args.overwrite,
    )
    maker = Maker(model.to(args.device), args.image_root, args.label_root, settings)
    for note in maker.notes:
        print(note)
    if maker.existing:
        print(f"{maker.existing} images have a label map already: they are left out")
    if not maker.pending:
        print(f"{args.label_root}: complete")
        return
    bar = ProgressBar(len(maker.pending))
    for done in maker.run():
        bar.update(done)
    print(f"\n{args.label_root}: {maker.tally.maps} label maps")
    for line in maker.tally.describe():
        print(line)


if __name__ == "__main__":
    sys.exit(tool.run(make, parse_args()))
