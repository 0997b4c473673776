"""The names of --eval on the frameworks' own configs, read from where they are installed."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import METRICS, DefaultScope

from mmscalablevit.errors import UsageError
from mmscalablevit.evaluation.selection import (
    EVALUATORS,
    available_metrics,
    innermost_datasets,
    list_evaluators,
    select_metrics,
)


def framework_config(name: str) -> Config:
    """Read ``mmdet::retinanet/...py`` from the installed package, without its hub."""
    package, _, path = name.partition("::")
    spec = importlib.util.find_spec(package)
    return Config.fromfile(Path(spec.submodule_search_locations[0]) / ".mim/configs" / path)


RESNET = "mmpretrain::resnet/resnet18_8xb32_in1k.py"
MULTILABEL = "mmpretrain::vgg/vgg16_8xb16_voc.py"
RETINANET = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
MASK_RCNN = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
CASCADE = "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"
RTMDET_INS = "mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py"
SOLO = "mmdet::solo/solo_r50_fpn_1x_coco.py"
RPN = "mmdet::rpn/rpn_r50_fpn_1x_coco.py"
PANOPTIC_FPN = "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py"
MASK2FORMER = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py"
LVIS = "mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py"
CITYSCAPES = "mmdet::cityscapes/mask-rcnn_r50_fpn_1x_cityscapes.py"
CROWDHUMAN = "mmdet::crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py"
OPENIMAGES = "mmdet::openimages/retinanet_r50_fpn_32xb2-1x_openimages.py"
VOC = "mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py"
UPERNET = "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py"

BOXES, MASKS = "bbox proposal proposal_fast", "bbox segm proposal proposal_fast"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RESNET, "accuracy"),
        (MULTILABEL, "precision recall f1-score support mAP"),
        (RETINANET, BOXES),
        (MASK_RCNN, MASKS),
        (CASCADE, MASKS),
        (RTMDET_INS, MASKS),
        (SOLO, MASKS),
        (RPN, "proposal proposal_fast"),
        (PANOPTIC_FPN, "PQ"),
        (MASK2FORMER, f"PQ {MASKS}"),
        (LVIS, MASKS),
        (CITYSCAPES, f"{MASKS} cityscapes"),
        (CROWDHUMAN, "AP MR JI"),
        (OPENIMAGES, "mAP"),
        (VOC, "mAP recall"),
        (UPERNET, "mIoU mDice mFscore"),
    ],
)
def test_each_config_has_the_metrics_of_its_evaluators_and_its_task(config, expected):
    cfg = framework_config(config)
    before = copy.deepcopy(cfg._cfg_dict)
    assert available_metrics(cfg) == expected.split()
    for name in expected.split():
        (evaluator,) = select_metrics(cfg, [name.upper()])
        evaluator.type = "changed"
    assert cfg._cfg_dict == before


def test_the_names_are_those_that_the_evaluators_take():
    for kind in ("SingleLabelMetric", "MultiLabelMetric", "CocoMetric", "VOCMetric"):
        argument, names = EVALUATORS[kind]
        with DefaultScope.overwrite_default_scope("mmpretrain" if "Label" in kind else "mmdet"):
            for name in names:
                METRICS.build({"type": kind, argument: [name]})
            with pytest.raises((AssertionError, KeyError)):
                METRICS.build({"type": kind, argument: ["x"]})
    assert (
        EVALUATORS["DepthMetric"][1] == pytest.importorskip("mmseg.evaluation").DepthMetric.METRICS
    )


def test_the_configs_evaluator_keeps_its_settings():
    cfg = framework_config(RESNET)
    assert select_metrics(cfg, ["Accuracy"]) == [{"type": "Accuracy", "topk": (1, 5)}]
    cfg = framework_config(MASK_RCNN)
    cfg.test_evaluator.proposal_nums = (10, 20, 30)
    (evaluator,) = select_metrics(cfg, ["SEGM"])
    assert evaluator.metric == ["segm"] and evaluator.proposal_nums == (10, 20, 30)
    assert evaluator.ann_file == "data/coco/annotations/instances_val2017.json"


def test_metrics_of_one_kind_share_an_evaluator_in_the_order_asked_for():
    (evaluator,) = select_metrics(framework_config(MASK_RCNN), ["segm", "bbox", "segm"])
    assert evaluator.type == "CocoMetric" and evaluator.metric == ["segm", "bbox"]
    (evaluator,) = select_metrics(framework_config(UPERNET), ["mfscore", "MIOU", "mDice"])
    assert evaluator.type == "IoUMetric"
    assert evaluator.iou_metrics == ["mFscore", "mIoU", "mDice"]
    (evaluator,) = select_metrics(framework_config(LVIS), ["bbox"])
    assert evaluator.type == "LVISMetric" and evaluator.metric == ["bbox"]


def test_metrics_of_two_kinds_give_two_evaluators():
    evaluators = select_metrics(framework_config(MASK2FORMER), ["pq", "bbox"])
    assert [evaluator.type for evaluator in evaluators] == ["CocoPanopticMetric", "CocoMetric"]
    assert evaluators[1].metric == ["bbox"]
    counts, precision = select_metrics(framework_config(MULTILABEL), ["recall", "map", "support"])
    assert counts.type == "VOCMultiLabelMetric" and counts["items"] == ["recall", "support"]
    assert precision.type == "VOCAveragePrecision"
    # which takes one name only
    evaluators = select_metrics(framework_config(VOC), ["recall", "mAP"])
    voc = {"type": "VOCMetric", "eval_mode": "11points"}
    assert evaluators == [{**voc, "metric": "recall"}, {**voc, "metric": "mAP"}]


def test_missing_evaluators_are_built_from_the_data_set():
    cfg = framework_config(MASK_RCNN)
    cfg.test_evaluator = ConfigDict(type="VOCMetric")
    assert available_metrics(cfg) == ["mAP", "recall", *MASKS.split()]
    assert select_metrics(cfg, ["bbox"]) == [
        {
            "type": "CocoMetric",
            "ann_file": "data/coco/annotations/instances_val2017.json",
            "metric": ["bbox"],
        }
    ]
    cfg = framework_config(PANOPTIC_FPN)
    reference = cfg.test_evaluator
    cfg.test_evaluator = []
    (built,) = select_metrics(cfg, ["PQ"])
    for key in ("type", "ann_file", "seg_prefix"):
        assert built[key].rstrip("/") == reference[key].rstrip("/")
    cfg = framework_config(UPERNET)
    cfg.test_evaluator = None
    assert select_metrics(cfg, ["mIoU"]) == [{"type": "IoUMetric", "iou_metrics": ["mIoU"]}]


def test_the_annotations_of_a_wrapped_data_set_are_found():
    cfg = framework_config(MASK_RCNN)
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = ConfigDict(
        type="RepeatDataset", times=2, dataset={"type": "ConcatDataset", "datasets": [inner]}
    )
    cfg.test_evaluator = None
    assert innermost_datasets(cfg.test_dataloader.dataset)[0].type == "CocoDataset"
    assert select_metrics(cfg, ["bbox"])[0].ann_file.endswith("instances_val2017.json")


@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        (RETINANET, "segm", "has no segm; it has: bbox, proposal"),
        (MASK_RCNN, "PQ", "it has: bbox, segm, proposal"),
        (MASK_RCNN, "bbbox", "unknown metric .did you mean bbox.*has: bbox, segm, proposal"),
        (MULTILABEL, "accuracy", "it has: precision, recall, f1-score, support, mAP$"),
        (VOC, "bbox", "no annotations in COCO's format.* has: mAP, recall$"),
    ],
)
def test_a_metric_that_the_config_has_not_is_told(config, name, message):
    with pytest.raises(UsageError, match=message):
        select_metrics(framework_config(config), [name])


def test_scoped_names_classes_and_evaluators_of_ones_own_count_as_types():
    class CocoMetric:
        pass

    class Mine(CocoMetric):
        pass

    cfg = framework_config(RETINANET)
    for kind in ("mmdet.CocoMetric", CocoMetric, Mine):
        cfg.test_evaluator = [ConfigDict(type=kind, ann_file="a.json", classwise=True)]
        (evaluator,) = select_metrics(cfg, ["bbox"])
        assert evaluator.type == kind and evaluator.classwise and evaluator.metric == ["bbox"]
    assert len(list_evaluators(cfg)) == 1
    # One of which nothing is known goes by its own name.
    cfg.test_evaluator.append(ConfigDict(type="Pointing", thr=0.5))
    assert select_metrics(cfg, ["pointing"]) == [{"type": "Pointing", "thr": 0.5}]
