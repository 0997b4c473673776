"""LVT's classifier against the released one: class attention, and training with mixed tokens."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from mmscalablevit.checkpoints.conversion import convert
from mmscalablevit.cli.compilation import compile_backbone
from mmscalablevit.models import token_label
from mmscalablevit.models.heads import ClassAttentionHead
from mmscalablevit.models.pyramid import InputError
from mmscalablevit.models.token_mixing import TokenBox, swap_images
from tests import golden
from tests.models.families import FAMILIES

log = logging.getLogger(__name__)

FOLDER = "lvt_token_labels"
TOLERANCE = 1e-5  # of the std, and of the size of losses a tenth
GRADIENT_TOLERANCE = 1e-4  # of the largest


@pytest.fixture(autouse=True)
def _in_mmpretrain():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def released_classifier(seed: int) -> ImageClassifier:
    """The released classifier, converted; drop path stays off, so that training is determined."""
    model = MODELS.build(
        {
            "type": "TokenLabelClassifier",
            "backbone": {"type": "LVT", "output_norms": False},
            "head": {"type": "ClassAttentionHead", "num_classes": 1000},
            "data_preprocessor": {"type": "TokenLabelDataPreprocessor"},
        }
    )
    converted = convert(golden.released_state_dict("lvt_cls", seed))
    model.load_state_dict(converted.state_dict)
    return model


def apart(found: Tensor, expected: np.ndarray) -> float:
    """The largest deviation, over the std of what is expected."""
    return float((found.detach() - torch.from_numpy(expected)).abs().max() / expected.std())


@pytest.mark.parametrize("name", ["lvt_cls_224x224", "lvt_cls_224x448"])
def test_equals_the_released_classifier(name):
    data = golden.load_golden(f"{FOLDER}/{name}")
    model = released_classifier(int(data["weight_seed"])).eval()
    head, image = model.head, golden.golden_image(data)
    with torch.no_grad():
        (x,) = model.backbone(image)
        logits, dense = head.logits((x,))
        tokens = x.flatten(2).transpose(1, 2)
        first = head.blocks[0](torch.cat((head.cls_token.expand(len(x), -1, -1), tokens), dim=1))
        second = head.blocks[1](first)
        assert torch.equal(second[:, 1:], tokens)
        found = {
            "cls_logits": logits,
            "aux_slice": dense[:, :, ::25],
            "aux_max": dense.amax(1),
            "logits": model(image, mode="tensor"),
            "cls_after_block0": first[:, 0],
            "cls_after_block1": second[:, 0],
            "cls_normed": head.pre_logits((x,)),
        }
    deviations = {key: apart(value, data[key]) for key, value in found.items()}
    for key, values in (("aux", dense), ("map", x)):
        std = float(data[f"{key}_std"])
        deviations[f"{key}_mean"] = abs(float(values.mean()) - float(data[f"{key}_mean"])) / std
        deviations[f"{key}_std"] = abs(float(values.std()) / std - 1)
    log.info("%s: %s", name, deviations)
    assert max(deviations.values()) < TOLERANCE, deviations
    scores = torch.stack([sample.pred_score for sample in model.predict(image)])
    torch.testing.assert_close(scores, torch.from_numpy(data["logits"]).softmax(1))


def draw_targets(seed: int, batch: int, classes: int, positions: int) -> list[DataSample]:
    """The targets of the golden file: of a map, smoothed."""
    draw = np.random.RandomState(seed).standard_normal((batch, classes, 2 + positions))
    targets = torch.from_numpy(2 * draw.astype(np.float32)).softmax(1)
    targets = targets * (1 - 0.1 + 0.1 / classes) + 0.1 / classes
    samples = []
    for each in targets:
        sample = DataSample().set_gt_score(each[:, 1])
        sample.gt_dense_score = each[:, 2:].T
        samples.append(sample)
    return samples


def test_trains_on_mixed_tokens_as_the_released_classifier(monkeypatch):
    data = golden.load_golden(f"{FOLDER}/mixtoken_224x224")
    model = released_classifier(int(data["weight_seed"])).train()
    image = golden.golden_image(data)
    samples = draw_targets(int(data["target_seed"]), len(image), 1000, 49)
    seen = {}
    logits = model.head.logits
    monkeypatch.setattr(model.head, "logits", lambda x: seen.setdefault("logits", logits(x)))
    for n in range(int(data["num_cases"])):
        case = {
            key.removeprefix(f"case{n}_"): value
            for key, value in data.items()
            if key.startswith(f"case{n}_")
        }
        box = TokenBox(*map(int, case["box"]), grid=(7, 7))
        assert box.kept == pytest.approx(float(case["lam"]), abs=1e-12)
        with monkeypatch.context() as patch:
            if "np_seed" in case:
                np.random.seed(int(case["np_seed"]))
            else:
                patch.setattr(token_label, "draw_box", lambda grid, box=box: box)
            model.zero_grad()
            seen.clear()
            loss = sum(model.loss(image, samples).values())
        loss.backward()
        cls_logits, dense = seen["logits"]
        inside = box.mask((7, 7), dense.device)
        dense = swap_images(inside, dense.unflatten(1, (7, 7))).flatten(1, 2)
        aux_std = float(case["aux_std"])
        deviations = {
            "cls_logits": apart(cls_logits, case["cls_logits"]),
            "aux": apart(dense[:, :, ::25], case["aux_slice"]),
            "aux_mean": abs(float(dense.mean()) - float(case["aux_mean"])) / aux_std,
            "aux_std": abs(float(dense.std()) / aux_std - 1),
            "loss": 10 * abs(float(loss) / float(case["loss"]) - 1),
        }
        parameters = {
            "cls_token": model.head.cls_token,
            "head_bias": model.head.fc.bias,
            "aux_head_bias": model.head.aux_fc.bias,
            "patch_embed_bias": model.backbone.stages[0].patch_embed.projection.bias,
        }
        gradients = {}
        for key, parameter in parameters.items():
            expected = torch.from_numpy(case[f"grad_{key}"])
            difference = (parameter.grad.flatten() - expected).abs().max()
            gradients[key] = float(difference / expected.abs().max())
        log.info("case %d: %s %s", n, deviations, gradients)
        assert max(deviations.values()) < TOLERANCE, deviations
        assert max(gradients.values()) < GRADIENT_TOLERANCE, gradients


def tiny_classifier(**settings) -> ImageClassifier:
    arch = FAMILIES["lvt"].tiny_arch
    head = {"type": "ClassAttentionHead", "num_classes": 10, "in_channels": 32, "num_heads": 4}
    model = {
        "type": "TokenLabelClassifier",
        "backbone": {"type": "LVT", "arch": arch, "output_norms": False},
        "head": head | settings.pop("head", {}),
        "data_preprocessor": {
            "type": "TokenLabelDataPreprocessor",
            "num_classes": 10,
            "label_size": 4,
        },
        **settings,
    }
    return MODELS.build(model)


def some_batch(size=(128, 128), batch=3):
    samples = [DataSample().set_gt_label(label) for label in range(batch)]
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(batch)]
    return {"inputs": images, "data_samples": samples}


def test_every_parameter_learns():
    model = tiny_classifier().train()
    for _ in range(2):  # with two boxes
        losses = model(**model.data_preprocessor(some_batch(), training=True), mode="loss")
        assert losses.keys() == {"loss_cls", "loss_dense"}
        sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_infers_at_any_size():
    model = tiny_classifier().eval()
    with torch.no_grad():
        for size in ((33, 50), (64, 64), (100, 37)):
            assert model(torch.randn(2, 3, *size), mode="tensor").shape == (2, 10)


def test_refuses_to_mix_what_is_no_whole_boxes():
    model = tiny_classifier()
    data = model.data_preprocessor(some_batch((128, 80)), training=True)
    with pytest.raises(InputError, match=r"128x80.*mix_tokens=False"):
        model(**data, mode="loss")


def test_mixes_no_tokens_if_told():
    model = tiny_classifier(mix_tokens=False).train()
    data = model.data_preprocessor(some_batch(), training=True)
    state = np.random.get_state()[1].copy()
    one, two = (model(**data, mode="loss") for _ in range(2))
    assert torch.equal(one["loss_cls"], two["loss_cls"])
    assert (np.random.get_state()[1] == state).all()


def test_dense_scores_can_be_left_out():
    model = tiny_classifier(head={"dense_weight": 0, "dense_score": 0})
    assert model.head.aux_fc is None
    data = model.data_preprocessor(some_batch(), training=True)
    assert model(**data, mode="loss").keys() == {"loss_cls"}
    feats = (torch.randn(2, 32, 2, 2),)
    assert torch.equal(model.head(feats), model.head.logits(feats)[0])
    weighted = tiny_classifier(head={"dense_score": 0.25}).head
    logits, dense = weighted.logits(feats)
    torch.testing.assert_close(weighted(feats), logits + 0.25 * dense.max(dim=1)[0])


def test_initialisation_is_the_released_one():
    head = ClassAttentionHead(1000)
    head.init_weights()
    for name, parameter in head.named_parameters():
        if parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name
        else:
            assert (parameter == (1 if "norm" in name and name.endswith("weight") else 0)).all()
    assert all(norm.eps == 1e-5 for norm in head.modules() if isinstance(norm, torch.nn.LayerNorm))


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="num_heads 5"):
        ClassAttentionHead(10, in_channels=32, num_heads=5)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_one_compilation_serves_all_boxes():
    model = tiny_classifier().train()
    data = model.data_preprocessor(some_batch(batch=4), training=True)
    np.random.seed(0)
    expected = [float(sum(model(**data, mode="loss").values())) for _ in range(6)]
    compile_backbone(model)
    np.random.seed(0)
    with torch._dynamo.config.patch(error_on_recompile=True):
        found = [float(sum(model(**data, mode="loss").values())) for _ in range(6)]
    assert len(set(expected)) > 2
    assert found == pytest.approx(expected, rel=1e-4)
