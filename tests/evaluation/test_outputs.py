from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.outputs import (
    ClassificationResults,
    add_output,
    leave_out_metrics,
)
from mmscalablevit.evaluation.selection import list_evaluators
from mmscalablevit.files import write_json
from tests import tiny_projects

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


def unlabelled(scope: str, home: Path) -> Config:
    """A config whose test data have images only."""
    cfg = make_config(scope)
    dataset = cfg.test_dataloader.dataset
    if scope == "mmpretrain":
        dataset.with_label = False
    elif scope == "mmseg":
        dataset.data_prefix = {"img_path": "images"}
        dataset.pipeline.insert(1, {"type": "mmseg.LoadAnnotations"})
    else:
        content = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1}]}
        write_json(home / "images.json", content)
        dataset.update(data_root=str(home), ann_file="images.json")
    return cfg


@pytest.mark.parametrize(
    ("scope", "name", "kind", "argument", "value"),
    [
        ("mmpretrain", "r.json", "ClassificationResults", "out_file", "r.json"),
        ("mmdet", "r.json", "CocoMetric", "outfile_prefix", "r"),
        ("mmseg", "labels", "IoUMetric", "output_dir", "labels"),
        ("mmpretrain", "r.pkl", "DumpResults", "out_file_path", "r.pkl"),
        ("mmdet", "r.pkl", "DumpDetResults", "out_file_path", "r.pkl"),
        ("mmseg", "r.pkl", "DumpResults", "out_file_path", "r.pkl"),
    ],
)
def test_results_go_out_in_the_format_of_the_task(tmp_path, scope, name, kind, argument, value):
    cfg = make_config(scope)
    add_output(cfg, str(tmp_path / name))
    evaluators = list_evaluators(cfg)
    assert evaluators[0]["type"] == EVALUATORS[scope]["type"]  # the metrics are kept
    assert evaluators[-1]["type"] == kind and evaluators[-1][argument] == str(tmp_path / value)
    # without labels what writes is kept, and computes nothing
    cfg = unlabelled(scope, tmp_path)
    add_output(cfg, str(tmp_path / name))
    leave_out_metrics(cfg)
    (evaluator,) = cfg.test_evaluator
    assert evaluator["type"] == kind
    assert evaluator.get("format_only") is (True if kind in ("CocoMetric", "IoUMetric") else None)
    steps = [step["type"] for step in cfg.test_dataloader.dataset.pipeline]
    assert len(steps) == 2 and "mmseg.LoadAnnotations" not in steps


def test_detectors_results_go_where_an_evaluator_of_the_config_writes(tmp_path):
    cfg = make_config("mmdet")
    cfg.test_evaluator = {"type": "VOCMetric"}
    with pytest.raises(UsageError, match="choose one with --eval"):
        add_output(cfg, str(tmp_path / "r.json"))
    cfg.test_evaluator = {"type": "PanopticQuality", "ann_file": "info.json"}
    with pytest.raises(UsageError, match=r"go to a \.zip file or a \.pkl file"):
        add_output(cfg, str(tmp_path / "r.json"))
    out = str(tmp_path / "panoptic_test-dev2017_LVT_results.zip")
    assert add_output(cfg, out) == [out]
    writer = {"type": "PanopticResults", "out_file": out, "ann_file": "info.json"}
    assert cfg.test_evaluator[1] == writer


def test_without_labels_none_are_loaded_for_test_time_augmentation(tmp_path):
    cfg = unlabelled("mmseg", tmp_path)
    pack, flips = [{"type": "PackSegInputs"}], [{"type": "RandomFlip", "prob": p} for p in (0, 1)]
    before = [{"type": "TestTimeAug", "transforms": [flips, [{"type": "LoadAnnotations"}], pack]}]
    cfg.tta_pipeline = before
    leave_out_metrics(cfg, pictures=True)
    assert cfg.tta_pipeline == [{"type": "TestTimeAug", "transforms": [flips, pack]}]


@pytest.mark.parametrize("scope", EVALUATORS)
def test_without_labels_there_must_be_something_to_write(tmp_path, scope):
    with pytest.raises(UsageError, match=r"have no labels[^\n]*\n  --out writes the"):
        leave_out_metrics(unlabelled(scope, tmp_path))
    cfg = unlabelled(scope, tmp_path)
    leave_out_metrics(cfg, pictures=True)
    assert cfg.test_evaluator == []


def test_data_with_labels_are_evaluated(tmp_path):
    cfg = unlabelled("mmdet", tmp_path)
    labelled = {"images": [], "annotations": [{"id": 1}]}
    write_json(tmp_path / "images.json", labelled)
    leave_out_metrics(cfg)
    assert cfg.test_evaluator == EVALUATORS["mmdet"]
    write_json(tmp_path / "images.json", {"images": [{"annotations": []}]})  # a key of an image
    with pytest.raises(UsageError, match=r"images\.json has no annotations"):
        leave_out_metrics(cfg)
    cfg = make_config("mmpretrain")
    cfg.test_dataloader.dataset.update(type="ImageNet", split="val")
    leave_out_metrics(cfg)
    cfg.test_dataloader.dataset.split = "test"
    with pytest.raises(UsageError, match="ImageNet's test set"):
        leave_out_metrics(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_predictions_of_unlabelled_images_are_written(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    tiny_projects.write(tmp_path)
    cfg = Config.fromfile(f"{task}.py")
    dataset, name, count = cfg.test_dataloader.dataset, "out.json", 2
    if task == "classification":
        dataset.with_label, count = False, 3
    elif task == "segmentation":
        dataset.data_prefix.pop("seg_map_path")
        name = "labels"
    else:
        path = tmp_path / dataset.data_root / dataset.ann_file
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "annotations": []}))
        cfg.model.test_cfg.score_thr = 0.0
    add_output(cfg, name)
    leave_out_metrics(cfg)
    cfg.load_from, cfg.work_dir = str(tiny_projects.save_checkpoint(f"{task}.py", "m.pth")), "work"
    cfg.experiment_name = cfg.visualizer.name = f"unlabelled-{task}"
    assert Runner.from_cfg(cfg).test() == {}
    if task == "segmentation":
        assert len(list(Path(name).glob("*.png"))) == count
    else:
        written = json.loads(Path("out.bbox.json" if task == "detection" else name).read_text())
        images = {entry.get("file") or entry["image_id"] for entry in written}
        assert len(images) == count
