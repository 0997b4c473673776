"""Exported files of small models: what they compute, as a user exports and tests them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")
pytest.importorskip("mmpretrain")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytest.importorskip("nncf")

from mmseg.models.utils import Upsample

from mmscalablevit.cli.building import build_model
from mmscalablevit.cli.config import load_config
from mmscalablevit.errors import UsageError
from mmscalablevit.export import files
from mmscalablevit.export.substitutes import AverageOfParts, substitute
from tests import tiny_projects
from tests.in_process import run_tool

pytestmark = pytest.mark.filterwarnings("ignore")

# One block a stage: what is traced is the same, in a fraction of the time.
SHALLOW = "model.backbone.arch.depths=[1,1,1,1]"
METRICS = {
    "classification": ["accuracy/top1", "accuracy/top2"],
    "detection": ["coco/bbox_mAP_50"],
    "instances": ["coco/bbox_mAP_50", "coco/segm_mAP_50"],
    "segmentation": ["mIoU", "aAcc"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exports")
    tiny_projects.write(root)
    return root


@pytest.fixture(autouse=True)
def _place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(home)
    yield


def run(tool: str, *arguments: object) -> str:
    ending = run_tool(tool, *arguments)
    assert ending.code == 0, ending.message
    return ending.shown


def refusal(tool: str, *arguments: object) -> str:
    ending = run_tool(tool, *arguments)
    assert ending.code == 1
    return " ".join(ending.message.split())


def lively(task: str) -> Path:
    """A checkpoint of a task's model whose outputs differ from place to place, as trained ones."""
    path = Path(f"{task}.pth")
    if not path.exists():
        tiny_projects.save_checkpoint(
            Path(f"{task}.py"), path, **({} if task == "classification" else {
                "model__backbone__arch__depths": [1, 1, 1, 1]
            }),
        )  # fmt: skip
        content = torch.load(path)
        for name, value in content["state_dict"].items():
            if name.endswith("weight") and value.ndim > 1:
                nn.init.xavier_normal_(value)
            if name.endswith("running_mean"):
                value.normal_(std=0.1)
        torch.save(content, path)
    return path


def options(task: str) -> list[str]:
    return [] if task == "classification" else ["--cfg-options", SHALLOW]


def metrics(task: str, checkpoint: Path) -> dict[str, float]:
    run("test.py", f"{task}.py", checkpoint, "--work-dir", "tested", *options(task))
    found = json.loads(Path("tested/metrics.json").read_text())["metrics"]
    return {name: found[name] for name in METRICS[task]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "format_name"),
    [("detection", "openvino"), ("instances", "onnx"), ("segmentation", "pt2")],
)
def test_a_file_tests_as_the_checkpoint_that_it_is_made_of(task: str, format_name: str) -> None:
    checkpoint = lively(task)
    shown = run("export.py", f"{task}.py", checkpoint, "--to", format_name, *options(task))
    path = Path(shown.splitlines()[-1].removeprefix("written: "))
    assert path.stem == task and path.is_file()
    assert "largest deviation from PyTorch" in shown
    assert metrics(task, path) == pytest.approx(metrics(task, checkpoint), abs=1e-3)
    assert files.rest_of(path).is_file() == (task == "instances")


@pytest.fixture(scope="module")
def classifier(home: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run("export.py", "classification.py", lively("classification"))
    return home / "classification.onnx"


@pytest.mark.slow
def test_a_classifier_s_file_says_all_that_its_user_needs(classifier: Path) -> None:
    """Without PyTorch and without the config."""
    import onnxruntime

    results = Path("results.json")
    run("test.py", "classification.py", "classification.pth", "--out", results)
    session = onnxruntime.InferenceSession(classifier)
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["mmscalablevit"])
    assert metadata["dataset_meta"]["classes"] == ["cat", "dog", "hamster"]
    prepare = metadata["preprocessing"]
    assert prepare["channels"] == "RGB"
    for result in json.loads(results.read_text()):
        pixels = cv2.resize(cv2.imread(result["file"]), (40, 40))[..., ::-1]
        pixels = (pixels - np.float32(prepare["mean"])) / np.float32(prepare["std"])
        images = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        (scores,) = session.run(["scores"], {"images": images})
        assert scores.sum() == pytest.approx(1, abs=1e-5)
        assert scores.argmax() == result["predicted_label"]


@pytest.mark.slow
def test_int8_is_near_and_smaller(classifier: Path) -> None:
    shown = run(
        "export.py", "classification.py", "classification.pth", "--to", "openvino",
        "--int8", 4, "--out", "small.xml",
    )  # fmt: skip
    assert "root mean square deviation" in shown
    weights = sum(value.nbytes for value in torch.load("classification.pth")["state_dict"].values())
    assert Path("small.bin").stat().st_size < 0.6 * weights
    whole, small = files.read(classifier), files.read(Path("small.xml"))
    assert small.metadata["int8"]
    for images in files.noise([(2, 40, 40), (3, 50, 70)]):
        expected, given = whole.run(images)["scores"], small.run(images)["scores"]
        assert 0 < (given - expected).abs().max() < 0.2  # noise is no pet


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_the_test(classifier: Path, home: Path) -> None:
    Path("five.py").write_text(
        '_base_ = "classification.py"\nmodel = dict(head=dict(num_classes=5))'
    )
    other = refusal("test.py", "five.py", classifier)
    assert "is not of this config's model: head.num_classes: 3 -> 5" in other
    assert "--amp" in refusal("test.py", "classification.py", classifier, "--amp")
    missing = refusal("test.py", "classification.py", "missing.onnx")
    assert "missing.onnx does not exist" in missing
    Path("broken.onnx").write_bytes(b"no graph")
    assert "broken.onnx cannot be read" in refusal("test.py", "classification.py", "broken.onnx")
    assert "ends in .onnx" in refusal(
        "export.py", "classification.py", "classification.pth", "--out", "x.xml"
    )
    assert "--to openvino" in refusal(
        "export.py", "classification.py", "classification.pth", "--int8"
    )


class Halves(nn.Module):
    """A neck that turns a size into a number of Python's: another one at each size."""

    def forward(self, maps: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = maps[-1]
        return (x.mean(dim=(2, 3)) * int(x.shape[3] * 0.5),)


@pytest.mark.slow
def test_a_graph_tied_to_a_size_costs_no_file_that_was_there() -> None:
    model = build_model(load_config("classification.py")).eval()
    model.neck = Halves()
    path = Path("tied.onnx")
    path.write_text("kept")
    with pytest.raises(UsageError, match="is not written"):
        files.export(model, path, {}, {})
    assert path.read_text() == "kept"
    assert not list(Path().glob(".tied*"))


def test_heads_that_compute_otherwise_are_refused() -> None:
    cfg = load_config("classification.py")
    cfg.model.head = {"type": "MultiLabelLinearClsHead", "num_classes": 3, "in_channels": 32}
    with pytest.raises(UsageError, match="one label an image"):
        files.Graph(build_model(cfg))


@pytest.mark.parametrize("parts", [(2, 2), (3, 3), (6, 6), (1, 5)])
def test_averages_of_parts_are_those_of_pytorch(parts: tuple[int, int]) -> None:
    for size in [(7, 7), (16, 25), (3, 5)]:
        x = torch.randn(2, 4, *size)
        assert torch.allclose(AverageOfParts(parts)(x), nn.AdaptiveAvgPool2d(parts)(x), atol=1e-6)


def test_upsampling_by_a_whole_number_is_that_of_mmseg() -> None:
    head = nn.Sequential(Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    x = torch.randn(1, 3, 5, 7)
    expected = head(x)
    substitute(head)
    assert type(head[0]) is not Upsample
    assert torch.equal(head(x), expected)
