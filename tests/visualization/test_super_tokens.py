import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmscalablevit import ScalableViT, STViT
from mmscalablevit.errors import UsageError
from mmscalablevit.models.stvit import SuperTokenAttention
from mmscalablevit.visualization.super_tokens import assign_image, assign_pixels, draw_super_tokens
from tests.models.families import FAMILIES


@pytest.mark.parametrize("size", [(12, 8), (10, 7), (3, 3)], ids=str)
def test_pixels_belong_to_the_nearest_mean_by_their_product(size):
    attention = SuperTokenAttention(6, 1, 4)
    x = torch.randn(2, *size, 6)
    assigned = assign_pixels(attention, x)
    assert assigned.shape == (2, *size)
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    padded = torch.zeros(2, rows * 4, columns * 4, 6)
    padded[:, : size[0], : size[1]] = x
    for image, pixels in zip(assigned, padded, strict=True):
        means = pixels.reshape(rows, 4, columns, 4, 6).mean(dim=(1, 3))
        for y, column in np.ndindex(size):
            around = [
                (i, j)
                for i in range(y // 4 - 1, y // 4 + 2)
                for j in range(column // 4 - 1, column // 4 + 2)
                if 0 <= i < rows and 0 <= j < columns
            ]
            best = max(around, key=lambda cell: float(pixels[y, column] @ means[cell]))
            assert image[y, column] == best[0] * columns + best[1]


class Preprocessor(nn.Module):
    def forward(self, data):
        return {"inputs": torch.stack(data["inputs"]).float() / 255}


def model_with(backbone):
    model = nn.Module()
    model.backbone, model.data_preprocessor = backbone.eval(), Preprocessor()
    return model


def test_a_picture_of_all_blocks_with_super_tokens(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    found = assign_image(model_with(STViT(FAMILIES["stvit"].tiny_arch)), image)
    # Strides 4 and 8, cells of 8 and 4; the other stages have no super tokens.
    assert {place: tuple(x.shape) for place, x in found.items()} == {
        "0.0": (18, 23),
        "0.1": (18, 23),
        "1.0": (9, 12),
    }
    assert found["0.0"].max() < 3 * 3 and found["1.0"].max() < 3 * 3
    draw_super_tokens(image, found, tmp_path / "tokens.png")
    with Image.open(tmp_path / "tokens.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100


def test_other_backbones_are_refused():
    model = model_with(ScalableViT(FAMILIES["scalablevit"].tiny_arch))
    with pytest.raises(UsageError, match="ScalableViT"):
        assign_image(model, np.zeros((64, 64, 3), dtype=np.uint8))
