"""A sample of the label maps that a training with token labels reads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from mmscalablevit.checks.classes import model_classes
from mmscalablevit.errors import Finding


def token_label_findings(
    model: Mapping[str, Any], split: str, dataset: Any, count: int
) -> Iterator[Finding]:
    """Read a sample of the label maps of a built data set whose pipeline loads some.

    Args:
        model: The config's model.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: The data set.
        count: How many maps to read.

    Yields:
        What was found: maps that are missing or malformed, of classes that the model does not have,
        or of several sizes; or that they are well.
    """
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    load = next((step for step in steps if type(step).__name__ == "LoadTokenLabels"), None)
    if load is None:
        return
    name = f"{split} token labels"
    faults: list[tuple[str, str]] = []
    sizes: dict[tuple[int, ...], str] = {}
    classes = min(model_classes(model).values(), default=None)
    chosen = sorted(random.Random(0).sample(range(len(dataset)), min(count, len(dataset))))
    for index in chosen:
        image = dataset.get_data_info(index)["img_path"]
        try:
            maps = load.read(image)
        except ValueError as error:
            found, _, remedy = str(error).removeprefix("token labels: ").partition("; ")
            faults.append((found, remedy))
            continue
        sizes.setdefault(tuple(maps.shape), load.find(image))
        if classes is not None and maps[1].max() >= classes:
            found = f"{load.find(image)} has class {int(maps[1].max())}, the model has {classes}"
            remedy = "take the maps of a teacher of the same classes, or raise num_classes"
            faults.append((found, remedy))
    if faults:
        found, remedy = faults[0]
        more = f" (and {len(faults) - 1} more of {len(chosen)})" if len(faults) > 1 else ""
        yield Finding(name, "fail", found + more, remedy)
    if len(sizes) > 1:
        found = ", ".join(f"{path} is {size}" for size, path in list(sizes.items())[:2])
        remedy = (
            "make them anew with one teacher at one size: tools/make_token_labels.py --overwrite"
        )
        yield Finding(name, "fail", f"maps of several sizes: {found}", remedy)
    elif not faults and sizes:
        (_, topk, side, _), *_ = sizes
        found = f"{len(chosen)} of {len(dataset)} read, {topk} classes at {side}x{side} cells"
        yield Finding(name, "ok", found)
