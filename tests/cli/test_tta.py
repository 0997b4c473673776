import pytest

from mmscalablevit.cli.tta import enable_tta, flip_pipeline
from mmscalablevit.errors import UsageError
from tests.evaluation.test_outputs import make_config


@pytest.mark.parametrize("scope", ["mmpretrain", "mmseg"])
def test_the_default_augmentation_is_a_flip(scope):
    cfg = make_config(scope)
    pipeline = cfg.test_dataloader.dataset.pipeline
    expected = flip_pipeline(pipeline)
    enable_tta(cfg)
    assert cfg.model.module.type == "M" and cfg.model.type.endswith(("ScoreTTA", "SegTTAModel"))
    assert cfg.test_dataloader.dataset.pipeline == expected
    assert [step["type"] for step in expected] == ["LoadImageFromFile", "TestTimeAug"]
    flips, (pack,) = expected[1]["transforms"]
    assert [flip["prob"] for flip in flips] == [0.0, 1.0]  # the truth comes from the first
    assert pack["meta_keys"] == ("img_path", "flip", "flip_direction")


def test_the_configs_own_augmentation_goes_first():
    cfg = make_config("mmseg")
    cfg.tta_model = {"type": "Own"}
    cfg.tta_pipeline = [{"type": "Steps"}]
    enable_tta(cfg)
    assert cfg.model.type == "Own" and cfg.test_dataloader.dataset.pipeline == [{"type": "Steps"}]


def test_a_detectors_augmentation_leaves_masks_out():
    cfg = make_config("mmdet")
    enable_tta(cfg)
    assert cfg.test_evaluator == [{"type": "CocoMetric", "metric": ["bbox"]}]
    assert "mask_head" not in cfg.model.module.roi_head
    cfg = make_config("mmdet")
    cfg.test_evaluator.metric = "segm"
    with pytest.raises(UsageError, match="use --eval bbox"):
        enable_tta(cfg)
