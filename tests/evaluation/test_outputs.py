from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config

from mmscalablevit.cli.tta import enable_tta, flip_pipeline
from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.outputs import ClassificationResults, add_output
from mmscalablevit.files import write_json
from mmscalablevit.hooks.matching import MatchingCheckpointHook

EVALUATORS = {
    "mmpretrain": {"type": "Accuracy"},
    "mmdet": {"type": "CocoMetric", "metric": ["bbox", "segm"]},
    "mmseg": {"type": "IoUMetric"},
}


def make_config(scope: str) -> Config:
    pack = {"mmpretrain": "PackInputs", "mmdet": "PackDetInputs", "mmseg": "PackSegInputs"}[scope]
    pipeline = [{"type": "LoadImageFromFile"}, {"type": pack, "meta_keys": ("img_path",)}]
    return Config(
        {
            "default_scope": scope,
            "model": {"type": "M", "roi_head": {"mask_head": {}, "bbox_head": {}}},
            "test_dataloader": {"dataset": {"type": "D", "pipeline": pipeline}},
            "test_evaluator": EVALUATORS[scope],
        }
    )


@pytest.mark.parametrize(
    ("scope", "name", "setting"),
    [
        ("mmpretrain", "r.json", ("ClassificationResults", "out_file", "r.json")),
        ("mmdet", "r.json", ("CocoMetric", "outfile_prefix", "r")),
        ("mmseg", "labels", ("IoUMetric", "output_dir", "labels")),
        ("mmpretrain", "r.pkl", ("DumpResults", "out_file_path", "r.pkl")),
        ("mmdet", "r.pkl", ("DumpDetResults", "out_file_path", "r.pkl")),
        ("mmseg", "r.pkl", ("DumpResults", "out_file_path", "r.pkl")),
    ],
)
def test_results_go_out_in_the_format_of_the_task(tmp_path, scope, name, setting):
    cfg = make_config(scope)
    add_output(cfg, str(tmp_path / name))
    evaluators = cfg.test_evaluator
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    kind, argument, value = setting
    (evaluator,) = [evaluator for evaluator in evaluators if evaluator["type"] == kind]
    assert evaluator[argument] == str(tmp_path / value)
    assert evaluators[0]["type"] == EVALUATORS[scope]["type"]  # the metrics are kept


@pytest.mark.parametrize(
    ("scope", "name"),
    [("mmpretrain", "x.csv"), ("mmpretrain", "x"), ("mmdet", "x"), ("mmseg", "x.json")],
)
def test_another_suffix_is_refused(tmp_path, scope, name):
    with pytest.raises(UsageError, match=r"results of this task go to .* or a \.pkl file"):
        add_output(make_config(scope), str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "labels").write_text("kept")
    with pytest.raises(UsageError, match="cannot write to"):
        add_output(make_config("mmseg"), str(tmp_path / "labels"))
    assert (tmp_path / "labels").read_text() == "kept"


def test_coco_results_need_a_coco_evaluator(tmp_path):
    cfg = make_config("mmdet")
    cfg.test_evaluator = {"type": "VOCMetric"}
    with pytest.raises(UsageError, match="choose one with --eval"):
        add_output(cfg, str(tmp_path / "r.json"))


def test_classification_results_are_written(tmp_path):
    metric = ClassificationResults(out_file=str(tmp_path / "r.json"))
    metric.dataset_meta = {"classes": ("cat", "dog")}
    score = torch.tensor([0.25, 0.75])
    labelled = {"img_path": "a.png", "pred_score": score, "pred_label": torch.tensor([1])}
    metric.process(None, [{**labelled, "gt_label": torch.tensor([0])}, labelled])
    assert metric.evaluate(2) == {}
    assert json.loads((tmp_path / "r.json").read_text()) == [
        {
            "file": "a.png",
            "predicted_label": 1,
            "predicted_class": "dog",
            "score": 0.75,
            "true_label": true,
            "true_class": name,
        }
        for true, name in [(0, "cat"), (None, None)]
    ]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


class _Run:
    """What the checkpoint hook sees of a runner."""

    def __init__(self, model) -> None:
        self.model = model


def test_a_checkpoint_of_another_model_is_told():
    model = torch.nn.Sequential()
    model.backbone, model.head = torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)
    hook, good = MatchingCheckpointHook(), dict(model.state_dict())
    hook.after_load_checkpoint(_Run(model), {"state_dict": good})
    extra = {**good, "auxiliary.weight": torch.ones(1)}
    hook.after_load_checkpoint(_Run(model), {"state_dict": extra})
    without_count = {k: v for k, v in good.items() if k != "head.num_batches_tracked"}
    hook.after_load_checkpoint(_Run(model), {"state_dict": without_count})
    cases = {
        "backbone.bias is missing": {k: v for k, v in good.items() if k != "backbone.bias"},
        r"backbone.weight has shape \(9, 2\), the model needs \(3, 2\)": {
            **good,
            "backbone.weight": torch.ones(9, 2),
        },
        "backbone.more is not in the model": {**good, "backbone.more": torch.ones(1)},
    }
    for message, state in cases.items():
        with pytest.raises(RuntimeError, match=message):
            hook.after_load_checkpoint(_Run(model), {"state_dict": state})


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
