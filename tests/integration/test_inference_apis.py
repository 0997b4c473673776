"""The frameworks' Python APIs, on this repository's configs and checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.structures import InstanceData

from mmscalablevit.checkpoints import load_file
from tests.integration import running
from tests.integration.test_image_sizes import spread_scores
from tests.leaves import LEAVES
from tests.tiny_data import save_image

MASK_RCNN = LEAVES["mask-rcnn_scalablevit-tiny_fpn_1xb4_digits"]
FPN = LEAVES["scalablevit-tiny_fpn_1xb8_digits-128x128"]
IMAGENET = LEAVES["scalablevit-small_8xb128_in1k"]
DIGITS = LEAVES["scalablevit-tiny_1xb64_digits"]


class SpreadScores(Hook):
    """Save a checkpoint whose model finds something, though it is hardly trained."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        spread_scores(runner.model)
        checkpoint["state_dict"] = runner.model.state_dict()


def train(path: Path, home: Path) -> str:
    """The checkpoint that the Runner saves at the end of a config's training, made once."""
    file = home / "trained" / f"{path.stem}.pth"
    if not file.exists():
        work_dir = home / "training"
        runner = Runner.from_cfg(running.load_reduced(path, work_dir))
        runner.register_hook(SpreadScores())
        runner.train()
        file.parent.mkdir(exist_ok=True)
        shutil.move(find_latest_checkpoint(str(work_dir)), file)
        shutil.rmtree(work_dir)
    return str(file)


def call_directly(path: Path, checkpoint: str, images: list[str]) -> list[Any]:
    """What the model of a config says of images, one by one, without the frameworks' APIs."""
    cfg = Config.fromfile(path)
    cfg.model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
    init_default_scope(cfg.default_scope)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.load_state_dict(load_file(checkpoint)["state_dict"])
    steps = cfg.test_dataloader.dataset.pipeline
    pipeline = Compose([step for step in steps if step.type != "LoadAnnotations"])
    samples = [pipeline({"img_path": image, "img_id": 0}) for image in images]
    model.eval()
    with torch.no_grad():
        return [
            model.test_step({key: [value] for key, value in sample.items()})[0]
            for sample in samples
        ]


def save_images(directory: Path) -> list[str]:
    paths = [directory / "a.png", directory / "b.png"]
    save_image(paths[0], (91, 127), seed=1)
    save_image(paths[1], (128, 96), seed=2)
    return [str(path) for path in paths]


def assert_same_detections(found: InstanceData, expected: InstanceData) -> None:
    """Compare detections in any order: rounding decides that of equal scores."""
    assert len(found) == len(expected) > 0
    distances = (found.bboxes[:, None] - expected.bboxes[None]).abs().amax(dim=2)  # in pixels
    distances += 100 * (found.scores[:, None] - expected.scores[None]).abs()
    distances += 100 * (found.labels[:, None] != expected.labels[None])
    assert distances.amin(dim=0).max() < 0.01 and distances.amin(dim=1).max() < 0.01
    if "masks" in found:
        partners = expected.masks[distances.argmin(dim=1)]
        assert (found.masks != partners).float().mean() < 1e-3


def assert_same_labels(labels: torch.Tensor, expected: Any) -> None:
    """Compare a label map with the one of a data sample, where its logits decide clearly."""
    first, second = expected.seg_logits.data.topk(2, dim=0).values
    clear = first - second > 1e-3  # elsewhere rounding may decide
    assert clear.float().mean() > 0.99
    assert torch.equal(labels[clear], expected.pred_sem_seg.data[0][clear])
    assert len(labels.unique()) > 1


def test_det_inferencer_from_the_checkpoint_alone(at_home: Path, tmp_path: Path) -> None:
    """A checkpoint carries its config, with the import of this package."""
    from mmdet.apis import DetInferencer

    images, checkpoint = save_images(tmp_path), train(MASK_RCNN, at_home)
    inferencer = DetInferencer(weights=checkpoint, device="cpu", show_progress=False)
    results = inferencer(images, batch_size=1, return_datasamples=True)["predictions"]
    expected = call_directly(MASK_RCNN, checkpoint, images)
    for result, sample in zip(results, expected, strict=True):
        assert_same_detections(result.pred_instances, sample.pred_instances)
    out = tmp_path / "out"
    [result] = inferencer(images[0], out_dir=str(out), no_save_pred=False)["predictions"]
    assert (out / "vis" / Path(images[0]).name).is_file()
    assert json.loads((out / "preds" / f"{Path(images[0]).stem}.json").read_text()) == result


def test_init_detector(at_home: Path, tmp_path: Path) -> None:
    from mmdet.apis import inference_detector, init_detector

    images, checkpoint = save_images(tmp_path), train(MASK_RCNN, at_home)
    model = init_detector(str(MASK_RCNN), checkpoint, device="cpu")
    assert model.dataset_meta["classes"] == tuple("0123456789")
    expected = call_directly(MASK_RCNN, checkpoint, images)
    results = inference_detector(model, images)
    results.append(inference_detector(model, mmcv.imread(images[0])))
    for result, sample in zip(results, [*expected, expected[0]], strict=True):
        assert_same_detections(result.pred_instances, sample.pred_instances)
        assert result.pred_instances.masks.shape[1:] == sample.ori_shape


def test_segmentors(at_home: Path, tmp_path: Path) -> None:
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    images, checkpoint = save_images(tmp_path), train(FPN, at_home)
    expected = call_directly(FPN, checkpoint, images)
    model = init_model(str(FPN), checkpoint, device="cpu")
    assert len(model.dataset_meta["classes"]) == 11
    results = [inference_model(model, image) for image in (*images, mmcv.imread(images[0]))]
    for result, sample in zip(results, [*expected, expected[0]], strict=True):
        assert result.pred_sem_seg.shape == sample.ori_shape
        assert_same_labels(result.pred_sem_seg.data[0], sample)

    inferencer = MMSegInferencer(str(FPN), checkpoint, device="cpu")
    inferencer.show_progress = False
    results = inferencer(images, out_dir=str(tmp_path / "out"))["predictions"]
    for i, (image, labels, sample) in enumerate(zip(images, results, expected, strict=True)):
        assert_same_labels(torch.from_numpy(labels), sample)
        written = mmcv.imread(str(tmp_path / "out/pred" / f"{i:08d}_pred.png"), -1)
        assert np.array_equal(written, labels)
        assert (tmp_path / "out/vis" / Path(image).name).is_file()


def test_classification(at_home: Path) -> None:
    from mmpretrain import ImageClassificationInferencer, get_model

    checkpoint = train(DIGITS, at_home)
    images = [str(image) for image in sorted(at_home.glob("data/digits/*/val/?/*.png"))[::99]]
    model = get_model(str(DIGITS), pretrained=checkpoint, device="cpu")
    inferencer = ImageClassificationInferencer(str(DIGITS), pretrained=checkpoint, device="cpu")
    expected = call_directly(DIGITS, checkpoint, images)
    results = inferencer(images, batch_size=len(images))
    others = ImageClassificationInferencer(model)(images)
    for result, other, sample in zip(results, others, expected, strict=True):
        np.testing.assert_allclose(result["pred_scores"], sample.pred_score, atol=1e-5)
        np.testing.assert_allclose(other["pred_scores"], sample.pred_score, atol=1e-5)
        assert result["pred_score"] == max(result["pred_scores"])
        assert result["pred_class"] == inferencer.classes[int(sample.pred_label)]
        assert len(inferencer.classes) == len(result["pred_scores"])


def test_get_model_gives_the_maps_of_all_stages(at_home: Path) -> None:
    from mmpretrain import get_model

    model = get_model(str(DIGITS), backbone={"out_indices": (0, 1, 2, 3)})
    maps = model.extract_feat(torch.rand(2, 3, 64, 96), stage="backbone")
    sizes = [(2, 32, 16, 24), (2, 64, 8, 12), (2, 128, 4, 6), (2, 256, 2, 3)]
    assert [tuple(x.shape) for x in maps] == sizes


def test_get_model_by_name() -> None:
    """MMPretrain knows our classifiers by their names."""
    pytest.importorskip("mmpretrain")
    from mmpretrain import get_model, list_models

    assert IMAGENET.stem in list_models("*scalablevit*")
    model = get_model(IMAGENET.stem)
    assert type(model.backbone).__name__ == "ScalableViT"
    assert model.head.layers[-1].fc.out_features == 1000
