"""The detection and segmentation configs for the digits."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmscalablevit.datasets import DETECTION_METAINFO, SEGMENTATION_METAINFO, prepare_digits
from mmscalablevit.models import ScalableViT

ROOT = Path(__file__).parents[2]
FOLDERS = {task: ROOT / "configs" / task / "digits" for task in ("detection", "segmentation")}
DETECTORS = (
    "mask-rcnn_scalablevit-tiny_fpn_1xb4_digits",
    "mask-rcnn_scalablevit-tiny_fpn_1xb4_digits-overlap",
    "retinanet_scalablevit-tiny_fpn_1xb4_digits",
)
SEGMENTORS = (
    "scalablevit-tiny_fpn_1xb8_digits-128x128",
    "scalablevit-tiny_fpn_1xb8_digits-overlap-128x128",
    "scalablevit-tiny_upernet_1xb8_digits-128x128",
)
NAMES = (*DETECTORS, *SEGMENTORS)
# The rest of this file is about ScalableViT's; these train in integration/test_every_config.py.
OTHER_BACKBONES = (
    "panoptic-fpn_lvt-tiny_fpn_1xb4_digits",
    "lvt-tiny_segformer_1xb8_digits-128x128",
    "stvit-tiny_upernet_1xb8_digits-128x128",
)
WIDTHS = [32, 64, 128, 256]


def task_of(name: str) -> str:
    return "detection" if name in DETECTORS else "segmentation"


def path_of(name: str) -> Path:
    return FOLDERS[task_of(name)] / f"{name}.py"


@functools.cache
def load(name: str) -> Config:
    return Config.fromfile(path_of(name))


def build(name: str) -> nn.Module:
    init_default_scope(load(name).default_scope)
    return MODELS.build(load(name).model)


@pytest.fixture(scope="module", params=(False, True), ids=("apart", "overlap"))
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few scenes, in a folder that stands for the repository's root."""
    root = tmp_path_factory.mktemp("root")
    out = root / "data" / ("digits-overlap" if request.param else "digits")
    out.parent.mkdir()
    tasks = ("detection", "segmentation")
    prepare_digits(out, tasks=tasks, num_train=8, num_val=3, overlap=request.param)
    return root


def test_every_config_is_listed() -> None:
    found = {path.stem for folder in FOLDERS.values() for path in folder.glob("*.py")}
    assert found == {*NAMES, *OTHER_BACKBONES}


@pytest.mark.parametrize("name", NAMES)
def test_leaf_is_short_and_documented(name: str) -> None:
    assert len(path_of(name).read_text().splitlines()) < 15
    assert path_of(name).name in (FOLDERS[task_of(name)] / "README.md").read_text()


@pytest.mark.parametrize("name", SEGMENTORS)
def test_parses_without_the_upstream_distribution_of_mmseg(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmengine.config.config.is_installed", lambda package: package != "mmsegmentation"
    )
    assert Config.fromfile(path_of(name)).pretty_text == load(name).pretty_text


@pytest.mark.parametrize("name", NAMES)
def test_model(name: str) -> None:
    model = build(name)
    assert isinstance(model.backbone, ScalableViT)
    classifier = Config.fromfile(
        ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"
    )
    assert load(name).model.backbone.arch == classifier.model.backbone.arch
    used = [WIDTHS[i] for i in model.backbone.out_indices]
    assert used == (WIDTHS[1:] if "retinanet" in name else WIDTHS)
    consumer = model.decode_head if "upernet" in name else model.neck
    assert list(consumer.in_channels) == used
    if name in DETECTORS:
        head = model.bbox_head if "retinanet" in name else model.roi_head.bbox_head
        assert head.num_classes == 10
        assert model.neck.num_outs == len(
            (model.bbox_head if "retinanet" in name else model.rpn_head).prior_generator.strides
        )
    else:
        heads = [model.decode_head] + ([model.auxiliary_head] if "upernet" in name else [])
        for head in heads:
            assert head.num_classes == 11
            weight = 5.0 if "upernet" in name else 3.0
            assert head.loss_decode.class_weight == [1.0] + 10 * [weight]
    norms = {type(module) for module in model.modules() if "Norm" in type(module).__name__}
    # Never SyncBN: one process, maybe without a GPU.
    expected = nn.GroupNorm if "upernet" in name else nn.BatchNorm2d
    assert norms == {nn.LayerNorm, expected}


@pytest.mark.parametrize("name", NAMES)
def test_linear_layers_start_by_xavier(name: str) -> None:
    model = build(name)
    model.init_weights()
    for module in model.backbone.modules():
        if isinstance(module, nn.Linear) and module.weight.numel() > 10_000:
            expected = (2 / (module.in_features + module.out_features)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert not module.bias.any()


@pytest.mark.parametrize("name", NAMES)
def test_schedule(name: str) -> None:
    cfg = load(name)
    warm_up, cosine = cfg.param_scheduler
    iterations = cfg.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == cosine.end == iterations
    assert warm_up.end == cosine.begin == 0.05 * iterations
    assert not warm_up.by_epoch and not cosine.by_epoch
    assert not cfg.log_processor.by_epoch and not cfg.default_hooks.checkpoint.by_epoch
    assert cfg.default_hooks.logger.interval <= iterations / 20
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size
    assert f"_1xb{cfg.train_dataloader.batch_size}_" in name
    assert cfg.randomness == {"seed": 0}
    assert "Flip" not in str(cfg.train_dataloader.dataset.pipeline)


@pytest.mark.parametrize("name", NAMES)
def test_no_weight_decay_on_biases_norms_and_position_encoding(name: str) -> None:
    model = build(name)
    optimizer = build_optim_wrapper(model, load(name).optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.AdamW
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    exempt = {
        id(parameter)
        for key, module in model.named_modules()
        for parameter_name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d | nn.GroupNorm)
        or parameter_name == "bias"
        or ".peg." in key
    }
    for key, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.0 if id(parameter) in exempt else 0.05), key


@pytest.mark.parametrize("name", [name for name in DETECTORS if "mask-rcnn" in name])
def test_rois_are_cut_out_of_the_right_place(name: str) -> None:
    # mmcv's RoIAlign reads any map as if it were contiguous, without a word.
    model = build(name).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.rand(2, 3, 128, 128))
        rois = torch.tensor([[0, 8, 16, 40, 60], [1, 50, 30, 90, 120.0]])
        extract = model.roi_head.bbox_roi_extractor
        expected = extract([level.contiguous() for level in maps][:4], rois)
        torch.testing.assert_close(extract(maps[:4], rois), expected)


def names_in(root: Path) -> tuple[str, ...]:
    """The configs that read the data set below a root."""
    overlap = (root / "data/digits-overlap").exists()
    return tuple(name for name in NAMES if ("overlap" in name) is overlap)


def test_data_sets(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    for name in names_in(data):
        cfg = load(name)
        init_default_scope(cfg.default_scope)
        expected = DETECTION_METAINFO if name in DETECTORS else SEGMENTATION_METAINFO
        for loader, length in ((cfg.train_dataloader, 8), (cfg.test_dataloader, 3)):
            dataset = DATASETS.build(loader.dataset)
            assert len(dataset) == length
            assert tuple(dataset.metainfo["classes"]) == expected["classes"]
            assert list(map(tuple, dataset.metainfo["palette"])) == expected["palette"]
            sample = dataset[0]
            assert tuple(sample["inputs"].shape) == (3, 128, 128)
            if name in DETECTORS:
                truth = sample["data_samples"].gt_instances
                assert len(truth.bboxes) == len(truth.masks) == len(truth.labels) >= 2
            else:
                truth = sample["data_samples"].gt_sem_seg.data
                assert 0 in truth and truth.max() <= 10


@pytest.mark.slow
def test_trains_and_tests(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    for name in names_in(data):
        cfg = copy.deepcopy(load(name))
        cfg.work_dir = str(tmp_path / name)
        cfg.train_cfg.max_iters = 2
        cfg.log_level = "WARNING"
        if task_of(name) == "detection":  # two steps teach no detector to be sure of anything
            test_cfg = cfg.model.test_cfg
            test_cfg.get("rcnn", test_cfg).score_thr = 0.0
        runner = Runner.from_cfg(cfg)
        before = {key: value.clone() for key, value in runner.model.state_dict().items()}
        runner.train()
        after = runner.model.state_dict()
        metrics = runner.test()
        wanted = {
            "detection": {"coco/bbox_mAP_50"} | ({"coco/segm_mAP_50"} if "mask" in name else set()),
            "segmentation": {"mIoU"},
        }[task_of(name)]
        assert wanted <= set(metrics)
        changed = [key for key in before if not torch.equal(before[key], after[key])]
        assert len(changed) > 0.9 * len(before)
        assert (tmp_path / name / "iter_2.pth").is_file()
