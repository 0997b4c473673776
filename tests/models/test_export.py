"""One graph serves all sizes: export with free batch, height and width, and traces."""

import pytest
import torch
from torch.export import Dim

from tests.models.families import FAMILIES, assert_same, each_family, tiny

OTHERS = [(1, 33, 64), (3, 64, 33), (2, 112, 150)]


@pytest.mark.slow
@each_family
def test_an_exported_backbone_serves_other_sizes(family):
    check_export(family, tiny(family))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("attention", ["WSA", "WSAWithLEM", "SWSA"])
def test_so_do_the_attentions_of_the_ablations(attention):
    arch = {**FAMILIES["scalablevit"].tiny_arch, "attentions": [attention, "SSA"]}
    check_export("scalablevit", tiny("scalablevit", arch=arch))


def check_export(family, model):
    free = {"x": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    exported = torch.export.export(
        model, (torch.randn(2, 3, 61, 77),), dynamic_shapes=free
    ).module()
    check(exported, model)


def check(graph, model):
    for batch, height, width in OTHERS:
        images = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            assert_same(graph(images), model(images), 1e-5)


@pytest.mark.slow
@each_family
@pytest.mark.filterwarnings("ignore")
def test_a_traced_backbone_serves_other_sizes(family):
    """At 64x64 the last map is one window, or less: nothing there is cut."""
    model = tiny(family)
    traced = torch.jit.trace(model, (torch.randn(2, 3, 64, 64),), check_trace=False)
    check(traced, model)


@pytest.mark.slow
@each_family
@pytest.mark.filterwarnings("ignore")
def test_so_does_what_the_old_exporter_to_onnx_writes(family, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, path, names = tiny(family), tmp_path / "old.onnx", [f"map{i}" for i in range(4)]
    free = {0: "batch", 2: "height", 3: "width"}
    axes = {"x": free} | {name: {k: f"{v} of {name}" for k, v in free.items()} for name in names}
    torch.onnx.export(
        model,
        (torch.randn(2, 3, 64, 64),),
        path,
        input_names=["x"],
        output_names=names,
        dynamic_axes=axes,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(path)

    def run(images):
        return [torch.from_numpy(array) for array in session.run(names, {"x": images.numpy()})]

    check(run, model)
