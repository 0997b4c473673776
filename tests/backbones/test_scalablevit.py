import copy
import logging

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmscalablevit import ScalableViT
from mmscalablevit.backbones.scalablevit import PEG
from mmscalablevit.checkpoints.conversion import convert
from tests import golden, reference

log = logging.getLogger(__name__)

TINY = {
    "embed_dims": [16, 16, 32, 32],
    "depths": [2, 1, 2, 2],
    "num_heads": [1, 2, 2, 4],
    "channel_ratios": [1.25, 0.5, 1.0, 1.0],
    "spatial_ratios": [8, 4, 2, 1],
}
ALL_STAGES = (0, 1, 2, 3)


def tiny(**settings) -> ScalableViT:
    torch.manual_seed(0)
    arguments = {"arch": TINY, "out_indices": ALL_STAGES, **settings}
    model = ScalableViT(**arguments).eval()
    for parameter in model.parameters():  # norms and biases at 1 and 0 would hide mistakes
        nn.init.normal_(parameter, mean=parameter.detach().mean(), std=0.2)
    return model


def assert_same(actual, expected, tolerance):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.std()


# All sizes of S, and the others on the size that shows most, in the quick tests.
GOLDEN = [
    name if "small" in name or "anysize" in name else pytest.param(name, marks=pytest.mark.slow)
    for name in golden.golden_names("scalablevit")
]


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_released_model(name):
    data = golden.load_golden(name)
    released = golden.released_state_dict(golden.released_name(name), int(data["weight_seed"]))
    arch, _, state_dict = convert({"model": released})
    with torch.device("meta"):  # the weights below take the place of random ones
        model = ScalableViT(arch).eval()
    backbone = {k.removeprefix("backbone."): v for k, v in state_dict.items() if "backbone" in k}
    model.load_state_dict(backbone, assign=True)
    maps = []
    for stage in model.stages:
        stage.register_forward_hook(lambda *arguments: maps.append(arguments[-1]))
    with torch.no_grad():
        (last,) = model(golden.golden_image(data))
    maps = [x.permute(0, 3, 1, 2) for x in maps[:3]] + [last]  # the golden last map is normed
    deviations = [golden.stage_deviation(data, i, x) for i, x in enumerate(maps)]
    log.info("%s: %.1e", name, max(deviations))  # shown by --log-cli-level=INFO
    assert max(deviations) < 1e-5, deviations


# Published counts of the released models' bodies, in millions.
@pytest.mark.parametrize(
    ("arch", "millions"), [("small", 25.794), ("base", 74.627), ("large", 100.985)]
)
def test_parameters_equal_the_released_bodies(arch, millions):
    with torch.device("meta"):
        model = ScalableViT(arch)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_norm_eps():
    for name, module in ScalableViT(TINY, out_indices=ALL_STAGES).named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-5 if "reduction" in name else 1e-6), name


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (61, 47), (96, 64)], ids=str)
def test_any_size_equals_brute_force(size):
    model = tiny()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert_same(model(images), reference.backbone(model, images), 1e-4)


@pytest.mark.parametrize(
    ("attentions", "peg"),
    [
        (("SSA", "IWSA"), True),
        (("WSA",), True),
        (("SWSA", "SSA"), True),
        (("WSAWithLEM", "SSA"), False),
        (("IWSA", "SSA"), False),
    ],
)
def test_ablations_equal_brute_force(attentions, peg):
    model = tiny(arch={**TINY, "attentions": attentions, "peg": peg})
    names = [type(block.attn).__name__ for stage in model.stages for block in stage.blocks]
    expected = [attentions[j % len(attentions)] for depth in TINY["depths"] for j in range(depth)]
    assert names == expected
    assert any(isinstance(module, PEG) for module in model.modules()) == peg
    images = torch.randn(1, 3, 65, 40)
    with torch.no_grad():
        assert_same(model(images), reference.backbone(model, images), 1e-4)


@pytest.mark.parametrize("arch", ["small", "base", "large"])
def test_every_arch_gives_maps_and_gradients_for_all_parameters(arch):
    model = ScalableViT(arch, out_indices=ALL_STAGES, drop_path_rate=0.1)
    outputs = model(torch.randn(2, 3, 64, 40))
    assert all(x.is_contiguous() for x in outputs)  # what mmcv's operators take for granted
    widths = model.embed_dims
    sizes = [(16, 10), (8, 5), (4, 3), (2, 2)]
    assert [tuple(x.shape) for x in outputs] == [
        (2, width, *size) for width, size in zip(widths, sizes, strict=True)
    ]
    sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_outputs_do_not_depend_on_the_batch():
    model = tiny()
    images = torch.randn(5, 3, 50, 70)
    with torch.no_grad():
        together = model(images)
        for i in range(5):
            assert_same(model(images[i : i + 1]), [x[i : i + 1] for x in together], 1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_autocast(dtype, tolerance):
    model = tiny()
    images = torch.randn(2, 3, 60, 64)
    with torch.no_grad():
        expected = model(images)
        with torch.autocast("cpu", dtype=dtype):
            outputs = model(images)
    for a, b in zip(outputs, expected, strict=True):
        assert (a.float() - b).square().mean().sqrt() < tolerance * b.std()


def test_autocast_training_step():
    model = tiny(drop_path_rate=0.2).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sum(x.float().square().mean() for x in model(torch.randn(2, 3, 60, 64)))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_traces_without_a_graph_break_also_when_sizes_vary():
    model = tiny()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for shape in [(2, 3, 60, 64), (2, 3, 64, 64), (3, 3, 64, 64)]:
            images = torch.randn(shape)
            assert_same(compiled(images), model(images), 1e-6)


@pytest.mark.slow
def test_compiles():
    model = tiny()
    compiled = torch.compile(model)
    with torch.no_grad():
        images = torch.randn(2, 3, 61, 47)
        assert_same(compiled(images), model(images), 1e-5)


def test_exports_for_any_batch():
    model = tiny()
    images = torch.randn(2, 3, 60, 64)
    batch = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (images,), dynamic_shapes=batch).module()
    with torch.no_grad():
        for count in (1, 2, 5):
            images = torch.randn(count, 3, 60, 64)
            assert_same(program(images), model(images), 1e-5)


def test_checkpointing_changes_no_gradient():
    images = torch.randn(2, 3, 40, 48)
    gradients = []
    for with_cp in (False, True):
        model = tiny(with_cp=with_cp).train()
        sum(x.square().sum() for x in model(images)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_checkpointing_saves_activations():
    saved = {}
    for with_cp in (False, True):
        model, count = tiny(with_cp=with_cp).train(), 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        images = torch.randn(2, 3, 64, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(images)
        saved[with_cp] = count
    assert saved[True] < 0.5 * saved[False]


def test_frozen_stages_stay_in_eval_mode_and_take_no_gradient():
    model = tiny(frozen_stages=1, drop_path_rate=0.5).train()
    for i, stage in enumerate(model.stages):
        frozen = i <= 1
        assert all(module.training != frozen for module in stage.modules())
        assert all(p.requires_grad != frozen for p in stage.parameters())
        assert all(p.requires_grad != frozen for p in getattr(model, f"norm{i}").parameters())
    sum(x.square().sum() for x in model(torch.randn(2, 3, 40, 48))).backward()
    assert all((p.grad is None) == (not p.requires_grad) for p in model.parameters())


def test_drop_path_grows_linearly_over_all_blocks():
    model = ScalableViT(TINY, drop_path_rate=0.3)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.05 * i for i in range(7)])


def test_drop_path_drops_whole_samples_in_training_only():
    torch.manual_seed(0)
    model = ScalableViT(TINY, drop_path_rate=0.9)
    block = model.stages[3].blocks[1]
    x = torch.randn(64, 2, 2, 32)
    unchanged = [torch.equal(a, b) for a, b in zip(block.train()(x), x, strict=True)]
    assert 0.6 < sum(unchanged) / 64 < 0.99  # both branches dropped: 0.9 * 0.9
    assert not any(torch.equal(a, b) for a, b in zip(block.eval()(x), x, strict=True))


def test_layer_depths_follow_the_order_of_computation():
    model = ScalableViT(TINY, out_indices=ALL_STAGES)
    depths = {
        name: model.get_layer_depth(f"backbone.{name}", "backbone.")
        for name, _ in model.named_parameters()
    }
    assert {total for _, total in depths.values()} == {9}
    assert depths["stages.0.patch_embed.norm.weight"][0] == 0
    assert depths["stages.0.blocks.0.norm1.weight"][0] == 1
    assert depths["stages.0.peg.conv.weight"][0] == 1
    assert depths["stages.0.blocks.1.ffn.fc1.bias"][0] == 2
    assert depths["stages.1.patch_embed.projection.weight"][0] == 3
    assert depths["stages.3.blocks.1.attn.q.weight"][0] == 7
    assert depths["norm0.weight"][0] == 8
    assert model.get_layer_depth("head.fc.weight", "backbone.") == (8, 9)


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet", "mmseg"])
@pytest.mark.parametrize("type_", ["ScalableViT", "mmscalablevit.ScalableViT"])
def test_builds_from_every_scope(scope, type_):
    registry = pytest.importorskip(f"{scope}.registry").MODELS
    model = registry.build({"type": type_, "arch": copy.deepcopy(TINY)})
    assert isinstance(model, ScalableViT)
    assert MODELS.get("ScalableViT") is ScalableViT


def test_out_indices_may_be_one_number_or_negative():
    assert ScalableViT(TINY, out_indices=2).out_indices == (2,)
    assert ScalableViT(TINY, out_indices=(-1, 0)).out_indices == (0, 3)
    outputs = ScalableViT(TINY, out_indices=(1, 3))(torch.randn(1, 3, 32, 32))
    assert [tuple(x.shape) for x in outputs] == [(1, 16, 4, 4), (1, 32, 1, 1)]


def without(key):
    return {name: value for name, value in TINY.items() if name != key}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"arch": "tiny"}, ["'tiny'", "'small'", "'base'", "'large'"]),
        ({"arch": without("depths")}, ["lacks depths"]),
        ({"arch": {**TINY, "depth": [1]}}, ["'depth'", "'depths'"]),
        ({"arch": {**TINY, "colour": 1}}, ["'colour'", "embed_dims"]),
        ({"arch": {**TINY, "depths": [2, 2, 2]}}, ["depths 3", "embed_dims 4"]),
        ({"arch": {**TINY, "depths": [2, 0, 2, 2]}}, ["'depths'", "above 0"]),
        ({"arch": {**TINY, "depths": 2}}, ["'depths'", "one entry a stage"]),
        ({"arch": {**TINY, "num_heads": [3, 2, 2, 4]}}, ["16", "stage 0", "3"]),
        ({"arch": {**TINY, "channel_ratios": [1.1, 1, 1, 1], "num_heads": [2] * 4}}, ["1.1", "17"]),
        ({"arch": {**TINY, "spatial_ratios": [8, 4, 2, 0]}}, ["'spatial_ratios'", "stage 3"]),
        ({"arch": {**TINY, "attentions": ["IWSA", "MSA"]}}, ["'MSA'", "SWSA"]),
        ({"arch": {**TINY, "attentions": "IWSA"}}, ["'attentions'", "list"]),
        ({"arch": {**TINY, "window_size": 0}}, ["'window_size'"]),
        ({"out_indices": (4,)}, ["out_indices 4", "0 to 3"]),
        ({"out_indices": (0, 0)}, ["at most once"]),
        ({"out_indices": ()}, ["at least"]),
        ({"frozen_stages": 4}, ["frozen_stages 4", "3"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate"]),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError) as error:
        ScalableViT(**{"arch": TINY, **settings})
    for word in words:
        assert word in str(error.value)


def test_a_mistyped_argument_is_refused():
    with pytest.raises(TypeError, match="drop_path"):
        ScalableViT(TINY, drop_path=0.1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 31, 64), ["at least 32", "31x64"]),
        ((1, 4, 64, 64), ["(B, 3, H, W)", "(1, 4, 64, 64)"]),
        ((3, 64, 64), ["(B, 3, H, W)"]),
    ],
)
def test_wrong_inputs_are_named(shape, words):
    with pytest.raises(ValueError) as error:
        tiny()(torch.randn(shape))
    for word in words:
        assert word in str(error.value)


def test_init_cfg_initialises_on_top_of_the_default():
    model = ScalableViT(TINY, init_cfg={"type": "Constant", "layer": "Linear", "val": 0.5})
    model.init_weights()
    assert (model.stages[0].blocks[0].ffn.fc1.weight == 0.5).all()
    assert (model.stages[0].patch_embed.norm.weight == 1).all()
