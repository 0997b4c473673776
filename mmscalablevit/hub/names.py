"""This package's configs under the names by which OpenMMLab's packages find their own."""

from __future__ import annotations

from mmengine.config.utils import MODULE2PACKAGE

from mmscalablevit.errors import FAILURES, UsageError
from mmscalablevit.files import find_configs


def register_names() -> None:
    """Let MMEngine resolve ``mmscalablevit::...``, and MMPretrain the names of the classifiers.

    MMPretrain keeps its names in a class of its own, so that it is imported where it is installed:
    without its models, which takes a tenth of a second. MMDetection and MMSegmentation read their
    own metafiles alone; they take :func:`mmscalablevit.files.find_config` of a name.
    """
    MODULE2PACKAGE.setdefault("mmscalablevit", "mmscalablevit")
    try:
        from mmpretrain.apis import ModelHub

        configs = find_configs()
    # What keeps MMPretrain from being imported is no concern of other frameworks' users; without
    # configs (UsageError) there are no names.
    except (*FAILURES, UsageError):
        return
    for metafile in sorted(configs.glob("classification/*/metafile.yml")):
        ModelHub.register_model_index(metafile, config_prefix=configs.parent)
