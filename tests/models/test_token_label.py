"""Targets, losses and mixing of the training with token labels, held to the released code's."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch import Tensor

from mmscalablevit.models.heads import ClassAttentionHead
from mmscalablevit.models.pyramid import InputError
from mmscalablevit.models.token_label import TokenLabelDataPreprocessor
from mmscalablevit.models.token_mixing import TokenBox, draw_box, swap_images
from tests import golden


@pytest.fixture(autouse=True)
def _in_mmpretrain():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def load_cases(name: str) -> list[dict[str, np.ndarray]]:
    """The cases of a golden file, their number taken off the names."""
    content = golden.load_golden(f"lvt_token_labels/{name}")
    numbers = sorted({key.split("_")[0] for key in content if key.startswith("case")})
    return [
        {key.removeprefix(f"{n}_"): value for key, value in content.items() if key.startswith(n)}
        for n in numbers
    ]


def make_samples(case: dict[str, np.ndarray]) -> list[DataSample]:
    """The images of a batch as the data set gives them: maps flipped, crops as boxes."""
    samples = []
    for maps, flip, crop, size, label in zip(
        *(case[key] for key in ("maps", "flip", "crop_ijhw", "image_hw", "label")), strict=True
    ):
        maps = torch.from_numpy(maps.astype(np.float32))
        (top, left, height, width), (rows, columns) = crop, size
        sample = DataSample().set_gt_label(int(label))
        sample.gt_score_map = maps.flip(3) if flip else maps
        box = left / columns, top / rows, (left + width) / columns, (top + height) / rows
        sample.gt_crop_box = box
        samples.append(sample)
    return samples


def preprocess(samples: list[DataSample], training: bool = True, **settings) -> None:
    inputs = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * len(samples)
    data = {"inputs": inputs, "data_samples": samples}
    TokenLabelDataPreprocessor(**settings)(data, training=training)


def targets(samples: list[DataSample]) -> Tensor:
    """Targets of a batch as the released code has them, without the column of the image's label."""
    columns = [torch.cat((s.gt_score[:, None], s.gt_dense_score.T), dim=1) for s in samples]
    return torch.stack(columns)


@pytest.mark.parametrize("order", ["xy", "released"])
def test_targets_equal_the_released_ones(order):
    for case in load_cases("label_targets"):
        samples, kept = make_samples(case), int(case["classes_kept"])
        preprocess(
            samples,
            num_classes=int(case["classes"]),
            label_size=int(case["size"]),
            label_smooth_val=float(case["smoothing"]),
            box_order=order,
        )
        found = targets(samples)
        # With one position the released target has no second column for it.
        expected = case[f"target_{order}"][:, :, 1:]
        deviation = np.abs(found[:, :kept, : expected.shape[2]].numpy() - expected).max()
        assert deviation < 5e-6
        if order == "released":
            last, total = case["target_released_last"][:, 1:], case["target_released_sum"][:, 1:]
            columns = last.shape[1]
            assert np.abs(found[:, -1, :columns].numpy() - last).max() < 5e-6
            assert np.abs(found.sum(1)[:, :columns].numpy() - total).max() < 1e-4


def test_a_batch_of_one_with_one_position():
    case = next(case for case in load_cases("label_targets") if case["size"] == 1)
    samples = make_samples(case)
    preprocess(samples[:1], num_classes=10, label_size=1)
    assert samples[0].gt_dense_score.shape == (1, 10)
    expected = torch.from_numpy(case["target_xy"][0, :, 1])
    torch.testing.assert_close(samples[0].gt_score, expected, rtol=0, atol=5e-6)


def test_without_maps_every_position_has_the_label_of_its_image():
    case = load_cases("label_targets")[1]
    samples = [DataSample().set_gt_label(int(label)) for label in case["label"]]
    preprocess(samples, num_classes=10)
    for sample, expected in zip(samples, case["target_released"][:, :, 0], strict=True):
        torch.testing.assert_close(sample.gt_score, torch.from_numpy(expected))
        assert torch.equal(sample.gt_dense_score, sample.gt_score.expand(49, 10))


def test_the_loss_equals_the_released_one():
    for case in load_cases("loss"):
        logits, dense, target = (torch.from_numpy(case[key]) for key in ("cls", "aux", "target"))
        box = TokenBox(*map(int, case["box"]), grid=(7, 7))
        dense = swap_images(box.mask((7, 7), dense.device), dense.unflatten(1, (7, 7)))
        head = ClassAttentionHead(10, in_channels=8)
        given = logits, dense.flatten(1, 2)
        head.logits = lambda _, given=given: given

        def losses(score, positions, head=head, box=box):
            samples = [DataSample().set_gt_score(each) for each in score]
            for sample, each in zip(samples, positions, strict=True):
                sample.gt_dense_score = each
            return {name: float(value) for name, value in head.loss(None, samples, box).items()}

        image, whole, positions = target[:, :, 0], target[:, :, 1], target[:, :, 2:].mT
        found = losses(whole, positions)
        assert sum(found.values()) == pytest.approx(case["loss"], rel=1e-6)
        assert found["loss_cls"] == pytest.approx(case["loss_cls"], rel=1e-6)
        assert found["loss_dense"] == pytest.approx(case["loss_dense"] / 2, rel=1e-6)
        found = losses(image, image[:, None].expand(-1, 49, -1))
        assert sum(found.values()) == pytest.approx(case["loss_image_label"], rel=1e-6)
        share = torch.where(whole.argmax(1) == image.argmax(1), 0.5, 0.9)[:, None]
        found = losses(share * whole + (1 - share) * image, positions)
        assert sum(found.values()) == pytest.approx(case["loss_ground_truth"], rel=1e-6)


def test_the_label_of_the_image_can_be_mixed_in():
    case = load_cases("label_targets")[1]
    samples, mixed = make_samples(case), make_samples(case)
    preprocess(samples, num_classes=10)
    preprocess(mixed, num_classes=10, ground_truth=True)
    of_labels = torch.from_numpy(case["target_released"][:, :, 0])
    for sample, other, of_label in zip(samples, mixed, of_labels, strict=True):
        share = 0.5 if sample.gt_score.argmax() == of_label.argmax() else 0.9
        expected = share * sample.gt_score + (1 - share) * of_label
        torch.testing.assert_close(other.gt_score, expected)
        torch.testing.assert_close(other.gt_dense_score, sample.gt_dense_score)


def test_evaluation_makes_no_targets():
    samples = make_samples(load_cases("label_targets")[1])
    preprocess(samples, training=False, num_classes=10)
    assert "gt_score" not in samples[0] and "gt_dense_score" not in samples[0]


def test_boxes_equal_the_released_ones():
    content = golden.load_golden("lvt_token_labels/mixtoken_boxes")
    for name, grid in (("56x56", (7, 7)), ("56x112", (7, 14)), ("64x48", (8, 6))):
        for seed, expected in zip(content["seeds"], content[f"boxes_{name}"], strict=True):
            np.random.seed(seed)
            assert draw_box(grid)[:4] == tuple(expected)


def test_a_swap_exchanges_the_box_and_twice_is_none():
    box = TokenBox(1, 0, 3, 2, grid=(3, 4))
    assert box.kept == pytest.approx(1 - 4 / 12)
    maps = torch.arange(3.0)[:, None, None, None].expand(3, 6, 8, 1)
    inside = box.mask((6, 8), maps.device)
    swapped = swap_images(inside, maps)
    for row in range(6):
        for column in range(8):
            expected = [2, 1, 0] if 2 <= row < 6 and column < 4 else [0, 1, 2]
            assert swapped[:, row, column, 0].tolist() == expected
    assert torch.equal(swap_images(inside, swapped), maps)


class TestMessages:
    def test_mixup_is_refused(self):
        with pytest.raises(ValueError, match="Mixup and CutMix"):
            TokenLabelDataPreprocessor(batch_augments={"augments": [{"type": "Mixup"}]})

    def test_an_unknown_box_order_is_refused(self):
        with pytest.raises(ValueError, match="box_order"):
            TokenLabelDataPreprocessor(box_order="yx")

    def test_maps_of_two_sizes_name_their_files(self):
        samples = [DataSample().set_gt_label(0) for _ in range(2)]
        for sample, size in zip(samples, (7, 8), strict=True):
            sample.gt_score_map = torch.zeros(2, 5, size, size)
            sample.set_metainfo({"img_path": f"image{size}.jpg"})
        with pytest.raises(InputError, match=r"image8\.jpg is \(2, 5, 8, 8\).*image7\.jpg"):
            preprocess(samples, num_classes=10)
        del samples[1].gt_score_map
        with pytest.raises(InputError, match=r"image8\.jpg is None"):
            preprocess(samples, num_classes=10)

    def test_a_class_beyond_the_classes_names_the_file(self):
        sample = DataSample(metainfo={"img_path": "image.jpg"}).set_gt_label(0)
        sample.gt_score_map = torch.full((2, 5, 7, 7), 10.0)
        with pytest.raises(InputError, match=r"image\.jpg has class 10, beyond the 10"):
            preprocess([sample], num_classes=10)

    def test_a_head_without_targets_names_the_preprocessor(self):
        head, feats = ClassAttentionHead(10, in_channels=8), (torch.zeros(1, 8, 7, 7),)
        with pytest.raises(InputError, match="TokenLabelDataPreprocessor"):
            head.loss(feats, [DataSample().set_gt_label(0)])

    def test_targets_of_other_sizes_are_refused(self):
        sample = DataSample().set_gt_label(0)
        preprocess([sample], num_classes=10, label_size=6)
        feats = (torch.zeros(1, 8, 7, 7),)
        with pytest.raises(InputError, match=r"\(36, 10\).*\(49, 10\).*label_size"):
            ClassAttentionHead(10, in_channels=8).loss(feats, [sample])
        with pytest.raises(InputError, match="num_classes"):
            ClassAttentionHead(12, in_channels=8).loss(feats, [sample])
