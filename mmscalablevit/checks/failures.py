"""What exceptions of the frameworks mean: which file, or which entry of the config, is at fault."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import Registry

from mmscalablevit.errors import FAILURES
from mmscalablevit.evaluation.selection import type_name

# What the frameworks and their libraries say of bad data: exceptions of other kinds and other
# texts keep their tracebacks.
DATA_ERRORS = (*FAILURES, cv2.error)

# Patterns of messages, and what to tell instead; several do not name the file.
_FIND = "`python tools/preflight.py {config} --images N` reads N files of each data set"
EMPTY = "the data set is empty"
FILL = (
    "look at its ann_file, data_prefix, the suffixes of its files, filter_cfg, and"
    " metainfo.classes (names as in the annotations)"
)
_KNOWN = (
    (r"(?:TokenLabelError: |^)token labels: ([^\n;]*); ([^\n]*)", "token labels: {0}\n  {1}"),
    (r"No such file or directory: '?([^'\n]*)'?", "{0} does not exist"),
    # of a worker the text has lines of code, too
    (
        r"(?:Error: |^)failed to load image: ([^\n]*)",
        "{0} cannot be decoded: it is damaged or no image",
    ),
    (r"cannot identify image file", f"a label map is no image\n  {_FIND}"),
    (r"image file is truncated", f"a label map is cut short\n  {_FIND}"),
    (r"!buf\.empty\(\)", f"an image file is empty\n  {_FIND}"),
    (
        r"index (\d+) is out of bounds for dimension 0 with size (\d+)",
        "label {0} where there are {1} classes\n  write labels below {1}; if {0} is the head's"
        " ignore_index: MMSegmentation's CrossEntropyLoss takes no class_weight where pixels are"
        " ignored, take it out",
    ),
    (
        r"<urlopen error ([^>]*)>",
        "an address that the config or one of its classes names cannot be reached: {0}\n  fetch the"
        " file on a machine with a network and name its path here",
    ),
    (r"need at least one array to concatenate", f"{EMPTY}\n  {FILL}"),  # MMEngine's data sets
    (
        r"Found 0 files in subfolders of: ([^\n]*?)\. Supp",
        f"no images in {{0}}: {EMPTY}\n  {FILL}",
    ),
    (
        r"Expected more than 1 value per channel",
        "batch_size 1 is too few for batch norm of maps that are pooled to one value\n "
        " --cfg-options train_dataloader.batch_size=2 or more (in each process), or"
        " norm_cfg=dict(type='GN', num_groups=...) in the heads",
    ),
    (
        r"image size in a batch should be the same",
        "a batch has images of different sizes\n  --cfg-options test_dataloader.batch_size=1"
        " val_dataloader.batch_size=1",
    ),
)


def explain(error: BaseException, config: str, cfg: Config | None = None) -> str | None:
    """Say which data, or which entry of the config, an error comes from.

    Args:
        error: What the Runner raised; of a data loader's worker it holds the traceback as text.
        config: Path of the config, for the command that finds the file.
        cfg: The config's content.

    Returns:
        A sentence, and what to do on a line of its own; None if the error is of another kind.
    """
    for pattern, sentence in _KNOWN:
        if found := re.search(pattern, str(error)):
            return sentence.format(*found.groups(), config=config)
    return None if cfg is None else _explain_entry(str(error), cfg)


def _explain_entry(text: str, cfg: Config) -> str | None:
    """Say which entry of a config a class, or the search for one, has turned down."""
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text):
        kind, key = found.groups()
        places = {place: part for place, part in dicts(cfg.to_dict()) if key in part}
        # The constructor that objects may be that of a class which the named one is derived from.
        exact = [place for place, part in places.items() if type_name(dict(part)) == kind]
        for place in exact or list(places):
            near = difflib.get_close_matches(key, [name for name in places[place] if name != key])
            remedy = (
                f"did you mean {near[0]}?"
                if near
                else "take it out; if a base config has it for another type, write _delete_=True"
                " beside the type"
            )
            return f"{place}: {type_name(dict(places[place])) or kind} takes no {key!r}\n  {remedy}"
    if found := re.search(r"(\w+)\.__init__\(\) missing \d+ required [\w\s]+: ([^\n]*)", text):
        for place, part in dicts(cfg.to_dict()):
            if type_name(dict(part)) == found[1]:
                return f"{place}: {found[1]} needs {found[2]}\n  add it"
    if found := re.search(r"(\w+) is not in the (\w+)::(\w+) registry", text):
        name, scope, role = found.groups()
        for place, part in dicts(cfg.to_dict()):
            if type_name(dict(part)) == name:
                near = difflib.get_close_matches(name, _known_names(role), n=2)
                hint = f"did you mean {' or '.join(near)}? Otherwise import" if near else "import"
                remedy = f"{hint} the module that registers it: custom_imports=dict(imports=[...])"
                return f"{place}.type: {scope} knows no {role} {name}\n  {remedy}"
    return None


def dicts(node: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk through the dicts of a config: their places, and what they hold."""
    if isinstance(node, (Config, Mapping)):
        yield place, node
        for key, value in node.items():
            yield from dicts(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from dicts(value, f"{place}.{number}")


def _known_names(role: str) -> list[str]:
    """The names that MMEngine and the frameworks have registered for a role, such as `model`."""
    found: list[str] = []
    waiting = [item for item in vars(registries).values() if isinstance(item, Registry)]
    while waiting:
        registry = waiting.pop()
        found += registry.module_dict if registry.name == role else ()
        waiting += registry.children.values()
    return found
