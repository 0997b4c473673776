"""What all backbones have in common; what they refuse is in test_refusals.py."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.models.families import ALL_STAGES, FAMILIES, assert_same, each_family, tiny

each_arch = pytest.mark.parametrize(
    ("family", "arch"), [(name, arch) for name, kind in FAMILIES.items() for arch in kind.archs]
)


@each_family
def test_any_size_equals_brute_force(family):
    model = tiny(family)
    for size in [(32, 32), (33, 32), (61, 47), (96, 64)]:
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert_same(model(images), FAMILIES[family].reference(model, images), 1e-4)


@each_arch
def test_every_arch_gives_maps_and_gradients_for_all_parameters(family, arch):
    kind = FAMILIES[family]
    model = kind.backbone(arch, out_indices=ALL_STAGES, drop_path_rate=0.1, **kind.settings)
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


@each_arch
def test_parameters_equal_the_released_models(family, arch):
    kind = FAMILIES[family]
    # The count of LVT is of its body with norms for all maps, that of STViT has the head.
    settings = {"out_indices": ALL_STAGES} if family == "lvt" else {}
    with torch.device("meta"):
        model = kind.backbone(arch, **settings)
    count = sum(p.numel() for p in model.parameters())
    if family == "stvit":
        dims = model.embed_dims[-1]
        count += dims * 1024 + 1024 + 2 * 1024 + 1024 * 1000 + 1000  # convolution, norm, linear
    assert count / 1e6 == pytest.approx(kind.archs[arch], abs=5e-4)


@each_family
def test_norms_and_their_eps(family):
    model = tiny(family)
    # PyTorch's default, 1e-5, in LVT and in SSA's reduction.
    eps = 1e-5 if family == "lvt" else 1e-6
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-5 if "reduction" in name else eps), name
        if isinstance(module, nn.BatchNorm2d):
            assert module.eps == 1e-5, name
    assert all(isinstance(getattr(model, f"norm{i}"), nn.LayerNorm) for i in ALL_STAGES)


@each_family
def test_outputs_do_not_depend_on_the_batch(family):
    model = tiny(family)
    images = torch.randn(5, 3, 50, 70)
    with torch.no_grad():
        together = model(images)
        for i in range(5):
            assert_same(model(images[i : i + 1]), [x[i : i + 1] for x in together], 1e-5)


@each_family
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_autocast(family, dtype, tolerance):
    model = tiny(family)
    images = torch.randn(2, 3, 60, 64)
    with torch.no_grad():
        expected = model(images)
        with torch.autocast("cpu", dtype=dtype):
            outputs = model(images)
    for a, b in zip(outputs, expected, strict=True):
        assert (a.float() - b).square().mean().sqrt() < tolerance * b.std()


@each_family
def test_autocast_training_step(family):
    model = tiny(family, drop_path_rate=0.2).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sum(x.float().square().mean() for x in model(torch.randn(2, 3, 60, 64)))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@each_family
@pytest.mark.usefixtures("compiler")
def test_traces_without_a_graph_break_also_when_sizes_vary(family):
    model = tiny(family)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for shape in [(2, 3, 60, 64), (2, 3, 64, 64), (3, 3, 64, 64)]:
            images = torch.randn(shape)
            assert_same(compiled(images), model(images), 1e-6)


@pytest.mark.slow
@each_family
@pytest.mark.usefixtures("compiler")
def test_compiled_outputs_and_gradients_are_those_of_eager_mode(family):
    model = tiny(family)
    images = torch.randn(2, 3, 61, 77)
    expected = model(images)
    directions = [torch.randn_like(x) for x in expected]
    gradients = []
    outputs = [expected, torch.compile(model)(images)]
    for maps in outputs:
        model.zero_grad()
        torch.autograd.backward(maps, directions)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert_same(outputs[1], expected, 1e-5)
    for found, truth in zip(gradients[1], gradients[0], strict=True):
        assert truth.any() and (found - truth).norm() <= 1e-4 * truth.norm()


@each_family
def test_exports_for_any_batch(family):
    model = tiny(family)
    images = torch.randn(2, 3, 60, 64)
    batch = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(model, (images,), dynamic_shapes=batch).module()
    with torch.no_grad():
        for count in (1, 2, 5):
            images = torch.randn(count, 3, 60, 64)
            assert_same(program(images), model(images), 1e-5)


@each_family
def test_checkpointing_changes_no_gradient(family):
    images = torch.randn(2, 3, 40, 48)
    gradients = []
    for with_cp in (False, True):
        model = tiny(family, with_cp=with_cp).train()
        sum(x.square().sum() for x in model(images)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@each_family
def test_checkpointing_saves_activations(family):
    saved = {}
    for with_cp in (False, True):
        model, count = tiny(family, with_cp=with_cp).train(), 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        images = torch.randn(2, 3, 64, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(images)
        saved[with_cp] = count
    assert saved[True] < 0.5 * saved[False]


@each_family
def test_frozen_stages_stay_in_eval_mode_and_take_no_gradient(family):
    model = tiny(family, frozen_stages=1, drop_path_rate=0.5).train()
    for i, stage in enumerate(model.stages):
        frozen = i <= 1
        assert all(module.training != frozen for module in stage.modules())
        assert all(p.requires_grad != frozen for p in stage.parameters())
        assert all(p.requires_grad != frozen for p in getattr(model, f"norm{i}").parameters())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    sum(x.square().sum() for x in model(torch.randn(2, 3, 40, 48))).backward()
    assert all((p.grad is None) == (not p.requires_grad) for p in model.parameters())
    for name, buffer in model.named_buffers():  # the statistics of batch norms
        assert torch.equal(buffer, before[name]) == name.startswith(("stages.0.", "stages.1."))


@each_family
def test_drop_path_grows_linearly_over_all_blocks(family):
    kind = FAMILIES[family]
    model = kind.backbone(kind.tiny_arch, drop_path_rate=0.3)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.05 * i for i in range(7)])


@each_family
def test_drop_path_drops_the_branches_of_whole_samples_in_training_only(family):
    block = tiny(family, drop_path_rate=0.9).stages[3].blocks[1]
    x = torch.randn(64, 2, 2, 32)
    with torch.no_grad():
        # What both branches leave alone, where both are dropped: with probability 0.9 * 0.9.
        kept = block.peg(x) if hasattr(block, "peg") else x
        dropped = [torch.equal(a, b) for a, b in zip(block.train()(x), kept, strict=True)]
        assert 0.6 < sum(dropped) / 64 < 0.99
        assert not any(torch.equal(a, b) for a, b in zip(block.eval()(x), kept, strict=True))


@each_family
def test_layer_depths_follow_the_order_of_computation(family):
    model = tiny(family)
    depths = {
        name: model.get_layer_depth(f"backbone.{name}", "backbone.")
        for name, _ in model.named_parameters()
    }
    assert {total for _, total in depths.values()} == {9}
    expected = {
        "stages.0.patch_embed.": 0,
        "stages.0.blocks.0.": 1,
        "stages.0.peg.": 1,
        "stages.0.blocks.1.": 2,
        "stages.1.": 3,
        "stages.2.patch_embed.": 4,
        "stages.3.blocks.1.": 7,
        "norm": 8,
    }
    for beginning, depth in expected.items():
        found = {depths[name][0] for name in depths if name.startswith(beginning)}
        assert found == {depth} or (beginning == "stages.0.peg." and not found)
    assert model.get_layer_depth("head.fc.weight", "backbone.") == (8, 9)


@each_family
def test_builds_from_every_scope(family):
    kind = FAMILIES[family]
    name = kind.backbone.__name__
    assert MODELS.get(name) is kind.backbone
    for scope in ("mmpretrain", "mmdet", "mmseg"):
        registry = pytest.importorskip(f"{scope}.registry").MODELS
        for prefix in ("", "mmscalablevit."):
            model = registry.build({"type": prefix + name, "arch": copy.deepcopy(kind.tiny_arch)})
            assert isinstance(model, kind.backbone)


@each_family
def test_out_indices_may_be_one_number_or_negative(family):
    kind = FAMILIES[family]
    assert kind.backbone(kind.tiny_arch, out_indices=2).out_indices == (2,)
    assert kind.backbone(kind.tiny_arch, out_indices=(-1, 0)).out_indices == (0, 3)
    outputs = kind.backbone(kind.tiny_arch, out_indices=(1, 3)).eval()(torch.randn(1, 3, 32, 32))
    assert [tuple(x.shape) for x in outputs] == [(1, 16, 4, 4), (1, 32, 1, 1)]


@each_family
def test_stages_behind_the_last_output_are_left_out_and_nothing_else_changes(family):
    settings = {"frozen_stages": 2, "drop_path_rate": 0.3}
    whole, part = tiny(family, **settings), tiny(family, out_indices=(0, 1), **settings)
    missing, behind = part.load_state_dict(whole.state_dict(), strict=False)
    assert not missing
    assert behind and all(
        name.startswith(("stages.2.", "stages.3.", "norm2.", "norm3.")) for name in behind
    )
    images = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        assert_same(part(images), whole(images)[:2], 1e-6)
    assert not any(p.requires_grad for p in part.parameters())
    for name, _ in part.named_parameters():
        assert part.get_layer_depth(name) == whole.get_layer_depth(name)
    for rate in (0.3, 0.6):
        whole.set_drop_path_rate(rate)
        part.set_drop_path_rate(rate)
        for stage, same in zip(part.stages, whole.stages, strict=False):
            for block, other in zip(stage.blocks, same.blocks, strict=True):
                assert block.drop_path.drop_prob == other.drop_path.drop_prob


@each_family
def test_an_arch_may_say_what_differs_from_a_named_one(family):
    kind = FAMILIES[family]
    name = next(iter(kind.archs))
    with torch.device("meta"):
        named = kind.backbone(name)
        shallow = kind.backbone({"base": name.upper(), "depths": [1, 1, 1, 1]})
    assert shallow.arch == {**named.arch, "depths": [1, 1, 1, 1]}
    assert [len(stage.blocks) for stage in shallow.stages] == [1, 1, 1, 1]


@each_family
def test_init_cfg_initialises_on_top_of_the_default(family):
    init_cfg = {"type": "Constant", "layer": "Linear", "val": 0.5}
    model = tiny(family, init_cfg=init_cfg)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert (module.weight == 0.5).all()
