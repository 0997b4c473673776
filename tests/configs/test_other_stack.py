"""All configs under what differs in the maintained forks, which share OpenMMLab's import names.

Their distributions have other names, by which MMEngine finds `mmseg::...` but not `mmdet::...`;
and MMEngine, where it misses a package, installs it over the fork.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path, package_utils

from mmscalablevit.environment.facts import ONEDL, UPSTREAM
from tests.integration.running import CONFIGS, ROOT, config_id

# The bases from outside, by their content: that of mmdet 3.3.0 and mmpretrain 1.2.0, and also of
# onedl-mmdetection 3.5.1 and onedl-mmpretrain 1.3.6. Look into both before adding one.
IN_BOTH = {
    "mmdet::_base_/datasets/coco_detection.py": "331362fd27f59bc0",
    "mmdet::_base_/datasets/coco_instance.py": "cb1b28f2b022a0d0",
    "mmdet::_base_/datasets/coco_panoptic.py": "8db9f0ba6874f71c",
    "mmdet::_base_/default_runtime.py": "f4ed2ce5d49aadf0",
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py": "6bac4dec08e7256b",
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py": "0cbf881d9f07ac0e",
    "mmdet::_base_/models/retinanet_r50_fpn.py": "7fa599ca882f19f4",
    "mmdet::_base_/schedules/schedule_1x.py": "29c25800f6a955f1",
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py": "894de307954b12e3",
    "mmpretrain::_base_/default_runtime.py": "0bf48206926f9033",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py": "3fa5e3400e866093",
}

PYTHON_FILES = sorted(
    path for part in ("configs", "mmscalablevit", "tools") for path in (ROOT / part).rglob("*.py")
)


def outside_bases(path: Path) -> set[str]:
    """The bases of a config file that are another package's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and re.match(r"\w+::", text)}


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No distribution has OpenMMLab's name, as where the forks are installed."""
    find = importlib.metadata.distribution

    def find_renamed(name: str) -> importlib.metadata.Distribution:
        if name.lower() in UPSTREAM.values():
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    for module in (importlib.metadata, package_utils):
        if hasattr(module, "distribution"):
            monkeypatch.setattr(module, "distribution", find_renamed)


def test_the_fixture_renames_what_the_forks_rename(renamed: None, tmp_path: Path) -> None:
    assert set(UPSTREAM.values()).isdisjoint(ONEDL.values())
    path = tmp_path / "config.py"
    path.write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    with pytest.raises(ModuleNotFoundError, match="mmsegmentation is not installed"):
        Config.fromfile(path)


@pytest.mark.parametrize("path", CONFIGS, ids=config_id)
def test_every_config_is_read_where_distributions_have_other_names(
    path: Path, renamed: None
) -> None:
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.type and cfg.train_dataloader.dataset


def test_bases_from_outside_are_the_same_in_both_stacks() -> None:
    used = set().union(*map(outside_bases, (ROOT / "configs").rglob("*.py")))
    assert used == IN_BOTH.keys()
    for base, digest in IN_BOTH.items():
        package, _, file = base.partition("::")
        path = Path(get_installed_path(package)) / ".mim/configs" / file
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] == digest, base


def test_nothing_lets_mmengine_install_a_package() -> None:
    """Its hub does; and configs of the new style, with ``read_base``, find no modules there."""
    for path in PYTHON_FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        names = {
            alias.name
            for node in ast.walk(tree)
            for alias in getattr(node, "names", ())
            if isinstance(alias, ast.alias)
        }
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not {"mmengine.hub", "hub"} & (names | modules | attributes), path
        assert "read_base" not in names, path
