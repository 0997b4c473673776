"""Where configs of earlier versions look: it is still there, and says where it went."""

import importlib
import sys

import pytest
from mmengine.config import Config

PLACES = {
    "mmscalablevit.heads": ("mmscalablevit.models.heads", "ConvClsHead"),
    "mmscalablevit.panoptic": ("mmscalablevit.evaluation.panoptic", "PanopticQuality"),
    "mmscalablevit.engine": ("mmscalablevit.hooks", "SavePicturesHook"),
    "mmscalablevit.engine.drop_path": ("mmscalablevit.hooks", "DropPathHook"),
}


@pytest.mark.parametrize("old", PLACES)
def test_the_old_place_works_and_says_where_its_content_went(old, tmp_path, monkeypatch):
    pytest.importorskip("mmpretrain")
    pytest.importorskip("mmdet")
    new, name = PLACES[old]
    for module in [module for module in sys.modules if module in PLACES]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "config.py").write_text(f"custom_imports = dict(imports=[{old!r}])")
    with pytest.warns(FutureWarning, match=f"has moved: name {new} in custom_imports") as told:
        Config.fromfile(tmp_path / "config.py")
    assert len([warning for warning in told if warning.category is FutureWarning]) == 1
    content = importlib.import_module(old)
    assert name in content.__all__
    for exported in content.__all__:
        assert getattr(content, exported) is not None
    assert getattr(content, name) is getattr(importlib.import_module(new), name)
