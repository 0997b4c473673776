import pytest
import torch

from mmscalablevit.models.windows import (
    axis_segments,
    join_windows,
    map_windows,
    split_windows,
    window_merge,
    window_partition,
)


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("length", range(1, 40))
def test_segments_cover_the_axis_in_order(length, shift):
    position = 0
    for start, run, window in axis_segments(length, 7, shift):
        assert start == position
        assert 1 <= window <= 7
        assert run % window == 0
        position += run
    assert position == length


def test_segments_by_hand():
    assert axis_segments(14, 7) == [(0, 14, 7)]
    assert axis_segments(16, 7) == [(0, 14, 7), (14, 2, 2)]
    assert axis_segments(5, 7, 3) == [(0, 5, 5)]
    assert axis_segments(14, 7, 3) == [(0, 3, 3), (3, 7, 7), (10, 4, 4)]
    assert axis_segments(9, 7, 3) == [(0, 3, 3), (3, 6, 6)]


def test_partition_takes_windows_in_row_major_order():
    x = torch.arange(2 * 4 * 6).reshape(2, 4, 6, 1)
    tokens = window_partition(x, (2, 3))
    assert tokens.shape == (8, 6, 1)
    index = 0
    for image in x:
        for top in (0, 2):
            for left in (0, 3):
                expected = image[top : top + 2, left : left + 3].reshape(6, 1)
                assert torch.equal(tokens[index], expected)
                index += 1


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 6), (4, 1)])
def test_merge_undoes_partition(window):
    x = torch.randn(3, 4, 6, 5)
    assert torch.equal(window_merge(window_partition(x, window), window, (4, 6)), x)


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("size", [(7, 7), (14, 21), (5, 30), (16, 9), (1, 1), (20, 13)])
def test_map_windows_puts_every_token_back_and_mixes_within_windows_only(size, shift):
    height, width = size
    x = torch.randn(2, height, width, 3)
    assert torch.equal(map_windows(x, 7, lambda tokens, _: tokens, shift), x)

    sums = map_windows(x, 7, lambda tokens, _: tokens.sum(1, keepdim=True).expand_as(tokens), shift)
    rows, columns = (
        [None if length <= 7 or not shift else (i - shift) // 7 for i in range(length)]
        if shift
        else [i // 7 for i in range(length)]
        for length in size
    )
    for i in range(height):
        for j in range(width):
            members = [
                x[:, a, b]
                for a in range(height)
                for b in range(width)
                if rows[a] == rows[i] and columns[b] == columns[j]
            ]
            torch.testing.assert_close(sums[:, i, j], torch.stack(members).sum(0))


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("size", [(14, 21), (5, 30), (16, 9), (1, 1)])
def test_joining_onto_a_map_adds_to_it(size, shift):
    x, onto = torch.randn(2, *size, 3), torch.randn(2, *size, 3)
    parts = [tokens for tokens, _ in split_windows(x, 7, shift)]
    assert torch.equal(join_windows(parts, size, 7, shift), x)
    assert torch.equal(join_windows(parts, size, 7, shift, onto=onto), onto + x)


def test_regions_have_windows_of_one_size_each():
    parts = split_windows(torch.randn(2, 16, 9, 3), 7)
    assert [(tuple(tokens.shape), window) for tokens, window in parts] == [
        ((4, 49, 3), (7, 7)),
        ((4, 14, 3), (7, 2)),
        ((2, 14, 3), (2, 7)),
        ((2, 4, 3), (2, 2)),
    ]


@pytest.mark.parametrize("size", [(14, 21), (28, 14)])
def test_shifted_windows_are_those_of_a_cyclic_shift_with_a_mask(size):
    """Swin rolls the map and masks what the roll joined; the groups must be the same."""
    height, width = size
    ids = torch.arange(height * width).reshape(1, height, width, 1)
    regions = torch.zeros(1, height, width, 1, dtype=torch.long)
    for row, rows in enumerate((slice(0, -7), slice(-7, -3), slice(-3, None))):
        for column, columns in enumerate((slice(0, -7), slice(-7, -3), slice(-3, None))):
            regions[:, rows, columns] = 3 * row + column
    rolled = torch.roll(ids, (-3, -3), dims=(1, 2))
    expected = set()
    for tokens, region in zip(
        window_partition(rolled, (7, 7)), window_partition(regions, (7, 7)), strict=True
    ):
        for value in region.unique():
            expected.add(frozenset(tokens[region == value].tolist()))

    groups = set()

    def collect(tokens, _):
        groups.update(frozenset(window.flatten().tolist()) for window in tokens)
        return tokens

    map_windows(ids, 7, collect, shift=3)
    assert groups == expected
