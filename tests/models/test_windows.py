import pytest
import torch

from mmscalablevit.models.windows import join_windows, pad_to_multiple, real_tokens, split_windows

SIZES = [(7, 7), (14, 21), (5, 30), (16, 9), (1, 1), (20, 13)]


@pytest.mark.parametrize("size", SIZES)
def test_windows_hold_the_map_filled_up_with_zeros(size):
    x = torch.randn(2, *size, 3)
    padded = torch.zeros(2, *(-(-length // 7) * 7 for length in size), 3)
    padded[:, : size[0], : size[1]] = x
    windows = iter(split_windows(x, 7))
    for image in padded:
        for top in range(0, padded.shape[1], 7):
            for left in range(0, padded.shape[2], 7):
                by_columns = image[top : top + 7, left : left + 7].transpose(0, 1)
                assert torch.equal(next(windows), by_columns.reshape(49, 3))
    assert next(windows, None) is None


@pytest.mark.parametrize("size", SIZES)
def test_joining_undoes_splitting_and_adds_onto_a_map(size):
    x, onto = torch.randn(2, *size, 3), torch.randn(2, *size, 3)
    windows = split_windows(x, 7)
    assert torch.equal(join_windows(windows, 7, x.shape[:3]), x)
    assert torch.equal(join_windows(windows, 7, x.shape[:3], onto=onto), onto + x)


def test_real_tokens_are_those_of_the_map():
    assert real_tokens(torch.randn(2, 14, 21, 3), 7) is None
    x = torch.rand(2, 16, 9, 1) + 1  # nowhere zero, as padding is
    real = real_tokens(x, 7)
    assert real is not None
    assert torch.equal(real, split_windows(x, 7).squeeze(-1) != 0)


def test_what_divides_is_not_copied():
    x = torch.randn(1, 14, 7, 3)
    assert pad_to_multiple(x, 7) is x
