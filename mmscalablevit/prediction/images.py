"""Which images are meant, and what their predictions are named."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.utils import scandir

from mmscalablevit.errors import UsageError, listed, near_names

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def find_images(inputs: Sequence[str], passed_over: Sequence[Path] = ()) -> list[Path]:
    """List the images of files, folders and patterns such as ``photos/*.jpg``, each one once.

    Of folders and patterns these are the files with an image's suffix, in order of their names;
    folders are searched to their depths, hidden ones left out.

    Args:
        inputs: Paths and patterns.
        passed_over: Folders whose files are no images of the user's.

    Raises:
        UsageError: There is nothing of a name, or no image at all.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        matches = [path] if path.exists() else [Path(m) for m in glob.glob(text, recursive=True)]
        if not matches:
            siblings = path.parent.iterdir() if path.parent.is_dir() else ()
            raise UsageError(f"there is no image or folder {text}{near_names(path, siblings)}")
        for match in sorted(matches):
            if match.is_dir():
                found += _images_below(match)
            elif match == path or match.suffix.lower() in SUFFIXES:
                found.append(match)
    own = [folder.resolve() for folder in passed_over]
    unique: dict[Path, Path] = {}
    for file in found:
        folder = file.parent.resolve()
        if not any(folder.is_relative_to(other) for other in own):
            unique.setdefault(folder / file.name, file)
    if not unique:
        raise UsageError(f"no image in {listed(inputs, 5)}: none ends in {', '.join(SUFFIXES)}")
    return list(unique.values())


def _images_below(folder: Path) -> Iterator[Path]:
    names = scandir(str(folder), suffix=SUFFIXES, recursive=True, case_sensitive=False)
    for name in sorted(names):
        if not any(part.startswith(".") for part in Path(name).parts):
            yield folder / name


def name_predictions(images: Sequence[Path]) -> dict[Path, str]:
    """Name the predictions of images, each otherwise.

    A name is the image's path below the folder that all have in common, without the suffix; all
    keep their suffixes where some differ in nothing else.
    """
    paths = [Path(os.path.abspath(image)) for image in images]
    common = os.path.commonpath([path.parent for path in paths])
    names = [path.relative_to(common) for path in paths]
    stems = [name.with_suffix("") for name in names]
    chosen = stems if len(set(stems)) == len(stems) else names
    return {image: name.as_posix() for image, name in zip(images, chosen, strict=True)}
