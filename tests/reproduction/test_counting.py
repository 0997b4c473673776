"""Counts of the tables' models: of peers against other papers' and projects' own figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmscalablevit.errors import UsageError
from mmscalablevit.models.complexity import Complexity, count_complexity
from mmscalablevit.reproduction.counting import Count, Counter, prints_as, tables_of_configs
from mmscalablevit.reproduction.peers import build_peer, own_size
from mmscalablevit.reproduction.published import Column, Row, Table, load_tables
from mmscalablevit.reproduction.tables import count_table
from tests.reproduction.making import ROOT, load_tool

CLASSIFIER = ROOT / "configs/classification/scalablevit/scalablevit-small_8xb128_in1k.py"
SEGMENTOR = ROOT / "configs/segmentation/scalablevit/scalablevit-s_fpn_4xb4-80k_ade20k-512x512.py"
DETECTOR = ROOT / "configs/detection/scalablevit/retinanet_scalablevit-s_fpn_1x_coco.py"
DIGITS = ROOT / "configs/classification/digits/scalablevit-tiny_1xb64_digits.py"


def test_a_print_is_a_count_rounded_or_cut_off() -> None:
    for counted, printed in [(28.51, 29), (81.88, 81), (4.15, 4.2), (15.96, 16.0)]:
        assert prints_as(counted, printed), counted
    for counted, printed in [(28.29, 29), (82.0, 81), (4.09, 4.2), (15.94, 16.0)]:
        assert not prints_as(counted, printed), counted


# Parameters in M and multiply-accumulates in G, attention's products counted, as their own papers
# or timm print them.
KNOWN = {
    "deit-s": (22.05, 4.6),
    "efficientnet-b4": (19.34, 4.39),  # torchvision's count at 380
    "pvt-s": (24.49, 3.8),
    "swin-t": (28.29, 4.5),
    "t2t-vit-14": (21.5, 6.1),  # T2T-ViT_t-14
    "tnt-s": (23.8, 5.2),
    "tnt-b": (65.4, 14.1),
    "twins-svt-s": (24.06, 2.9),
}


def test_classifiers_are_the_known_ones() -> None:
    for name, (params, macs) in KNOWN.items():
        model = build_peer(name, Config.fromfile(CLASSIFIER))
        counts = count_complexity(model, own_size(name) or (224, 224))
        assert counts.parameters / 1e6 == pytest.approx(params, rel=0.003), name
        assert counts.total_macs / 1e9 == pytest.approx(macs, rel=0.01), name


def test_backbones_stand_in_our_detectors_and_segmentors() -> None:
    """With the parameters, in M, that PVT, Swin and Twins print of these models."""
    known = [("resnet50", DETECTOR, 37.7), ("pvt-s", SEGMENTOR, 28.2), ("swin-t", DETECTOR, 38.5)]
    DefaultScope.get_instance("of a caller", scope_name="mmpretrain")
    for name, config, params in known:
        model = build_peer(name, Config.fromfile(config))
        counted = sum(p.numel() for p in model.parameters()) / 1e6
        assert counted == pytest.approx(params, rel=0.01), name
        assert DefaultScope.get_current_instance().scope_name == "mmpretrain"


def test_unknown_peers_are_named() -> None:
    for name, config, known in [("tnt-s", SEGMENTOR, "pvt-l"), ("swin-x", CLASSIFIER, "deit-b")]:
        with pytest.raises(UsageError, match=f"no peer {name} for this task; there are {known}"):
            build_peer(name, Config.fromfile(config))


def test_configs_are_found_in_the_tables() -> None:
    tables, counter = load_tables(), Counter()
    found = tables_of_configs(tables.values(), [SEGMENTOR], counter)
    assert [(table.key, [row.name for row in table.rows]) for table in found] == [
        ("4-semantic-fpn", ["ScalableViT-S"]),
        ("7", ["ScalableViT-S with LIM"]),
    ]
    (alone,) = tables_of_configs(tables.values(), [DIGITS], counter)
    assert alone.input_size == (224, 224)
    count = counter.count_row(alone, alone.rows[0])
    assert count is not None and 2e6 < count.complexity.parameters < 4e6


QUICK = ("7", "lvt-imagenet", "lvt-segformer")
KEYS = [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow) for key in load_tables()]


@pytest.mark.parametrize("key", KEYS)
def test_every_difference_has_its_reason(key: str, counter: Counter) -> None:
    table = load_tables()[key]
    counts = {row.name: counter.count_row(table, row) for row in table.rows}
    assert "nothing says why" not in count_table(table, counts)
    for row in table.rows:
        count, published = counts[row.name], row.published
        assert (count is None) is bool(row.missing)
        if count is None:
            continue
        # A note with a reason that can be counted must hold.
        if "attention's two products too" in row.notes.get("flops", ""):
            everything = count.complexity.total_macs / 1e9
            assert everything == pytest.approx(published["flops"], rel=0.01), row.name
        if "ImageNet head" in row.notes.get("params", ""):
            head = 1000 * ({"B": 768, "L": 1024}[row.name[-1]] + 1) / 1e6
            assert count.figures["params"] + head == pytest.approx(published["params"], rel=0.01)


def find_row(key: str, name: str) -> tuple[Table, Row]:
    table = load_tables()[key]
    return table, next(row for row in table.rows if row.name == name)


def test_what_the_zeros_in_windows_make_is_as_noted(counter: Counter) -> None:
    models = {
        "Twins-SVT-S": ((64, 128, 256, 512), (2, 2, 10, 4)),
        "Twins-SVT-B": ((96, 192, 384, 768), (2, 2, 18, 2)),
    }
    for key, name, without_zeros in [
        ("4-semantic-fpn", "Twins-SVT-S", 144.4),
        ("4-semantic-fpn", "Twins-SVT-B", 260.9),
        ("3-mask-rcnn", "Twins-SVT-B", 341.1),
    ]:
        table, row = find_row(key, name)
        assert f"it is {without_zeros} G" in row.notes["flops"]
        zeros = 0
        for stage, (width, depth) in enumerate(zip(*models[name], strict=True)):
            height, breadth = (side // 2 ** (2 + stage) for side in table.input_size)
            whole = -(-height // 7) * 7 * (-(-breadth // 7) * 7)
            # every second block attends in windows; qkv runs on the filled map
            zeros += depth // 2 * (whole - height * breadth) * 3 * width**2
        count = counter.count_row(table, row)
        assert count is not None
        assert count.figures["flops"] - zeros / 1e9 == pytest.approx(without_zeros, abs=0.05)


STVIT = [
    ("stvit-imagenet-224", "STViT-S", 4.3503, None),
    pytest.param("stvit-imagenet-384", "STViT-B", 31.40, 31.48, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("key", "name", "literal", "with_norms"), STVIT)
def test_what_the_released_stvit_counts_more_is_as_noted(
    key: str, name: str, literal: float, with_norms: float | None, counter: Counter
) -> None:
    table, row = find_row(key, name)
    assert f"it is {literal:.{4 if with_norms is None else 2}f} G" in row.notes["flops"]
    count = counter.count_row(table, row)
    assert count is not None
    # Four convolutions with nine 3x3 kernels an attention with super tokens: three on each channel
    # of each cell, one on a single channel. And the values that norms have.
    depths, widths, cells = {
        "S": ((3, 5, 9, 3), (64, 128, 320, 512), (8, 4)),
        "B": ((4, 6, 14, 6), (96, 192, 384, 512), (8, 4)),
    }[name[-1]]
    side = table.input_size[0]
    constant = sum(
        depth * (side // stride // cell) ** 2 * 9 * 9 * (3 * width + 1)
        for depth, width, cell, stride in zip(depths, widths, cells, (4, 8), strict=False)
    )
    macs = count.macs + constant
    assert macs / 1e9 == pytest.approx(literal, abs=5e-5 if with_norms is None else 5e-3)
    if with_norms is None:
        assert prints_as(macs / 1e9, row.published["flops"])
        return
    assert f", {with_norms:.2f}," in row.notes["flops"]
    sides = [side // stride for stride in (4, 8, 16, 32)]
    maps = [width * size**2 for width, size in zip(widths, sides, strict=True)]
    # A batch and a layer norm a block; batch norms in the stem, before stages and in the head.
    in_blocks = sum(depth * values for depth, values in zip(depths, maps, strict=True))
    stem = 2 * widths[0] // 2 * (side // 2) ** 2 + 2 * maps[0]
    batch = in_blocks + stem + sum(maps[1:]) + 1024 * sides[3] ** 2
    macs += 2 * batch + 5 * in_blocks
    assert macs / 1e9 == pytest.approx(with_norms, abs=5e-3)


@pytest.mark.slow
def test_panoptic_fpn_without_what_an_untrained_model_skips_is_as_noted(counter: Counter) -> None:
    table, row = find_row("lvt-panoptic", "LVT")
    count = counter.count_row(table, row)
    assert count is not None
    # 100 RoIs of 14x14: four 3x3 convolutions, an upsampling of 2x2, a class of 80 a pixel
    mask_head = 100 * 14**2 * (4 * 9 * 96**2 + 4 * 96**2 + 4 * 96 * 80)
    assert f"the mask head's {mask_head / 1e9:.2f} G" in row.notes["flops"]
    assert f"it is {(count.macs - mask_head) / 1e9:.2f}" in row.notes["flops"]


def table_of(*rows: Row, flops: str = "layers") -> Table:
    columns = {"params": Column("Params", "M"), "flops": Column("FLOPs", "G")}
    return Table("Title", "Source", (224, 224), columns, rows, flops=flops, key="1")  # type: ignore[arg-type]


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_table_shows_differences_and_reasons() -> None:
    table = table_of(
        Row("Exact", {"params": 30, "flops": 4.0}),
        Row("Cut", {"params": 29}),
        Row("Noted", {"params": 25, "flops": 3.0}, notes={"flops": "why", "params": "so"}),
        Row("Open", {"flops": 3.0}),
        Row("Lost", {"params": 7}, missing="nobody has it"),
    )
    count = Count((224, 224), Complexity(30_000_000, {"mm": 4_000_000_000}), table.flops)
    counts: dict[str, Count | None] = dict.fromkeys(("Exact", "Noted", "Open"), count)
    cut = Complexity(29_900_000, {"mm": 1_000_000_000, "bmm": 3_500_000_000})
    counts["Cut"] = Count((380, 380), cut, table.flops)
    text = count_table(table, {**counts, "Lost": None})
    found = {name: rest for name, *rest in cells(text)}
    assert found["Exact"] == ["30.00", "30", "+0.0", "4.00", "4.0", "+0.0", "4.00", "+0.0"]
    assert found["Cut at 380x380"] == ["29.90", "29", "+3.1 [r]", "1.00", "", "", "4.50", ""]
    assert found["Noted"][2:6] == ["+20.0 [1]", "4.00", "3.0", "+33.3 [2]"]
    assert found["Open"][5] == "+33.3 [!]"
    assert found["Lost"] == ["", "7", "", "", "", "", "", ""]
    assert "- [1] so\n- [2] why\n- [!] nothing says why" in text
    assert "- not counted: Lost: nobody has it" in text


def test_where_everything_counts_there_is_one_count() -> None:
    table = table_of(Row("Ours", {"flops": 4.5}), flops="everything")
    complexity = Complexity(30_000_000, {"mm": 4_000_000_000, "bmm": 500_000_000})
    text = count_table(table, {"Ours": Count((224, 224), complexity, table.flops)})
    header, _, line = cells(text)
    assert header == ["", "params (M)", "print", "diff", "FLOPs (G)", "print", "diff"]
    assert line == ["Ours", "30.00", "", "", "4.50", "4.5", "+0.0"]


def run_tool(*arguments: str | Path) -> None:
    """Run the tool within this process."""
    load_tool()["main"]([str(part) for part in arguments])


def test_count_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_tool("count", "7", DIGITS, "--out", tmp_path / "counts.md")
    text = (tmp_path / "counts.md").read_text()
    assert "| ScalableViT-S with LIM " in text and "| 172.7 |   174 | -0.7 |" in text.replace(
        "    ", ""
    )
    assert f"| {DIGITS.stem} |" in text
    assert [path.name for path in tmp_path.iterdir()] == ["counts.md"]
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert captured.out == f"written: {tmp_path / 'counts.md'}\n"


def test_list_shows_rows_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_tool("list", "3-retinanet", "6", "--work-dirs", tmp_path)
    text = capsys.readouterr().out
    for line in (
        "## 3-retinanet: Object detection on COCO with RetinaNet",
        "[1] Rounded twice, it seems: other papers print 38.5.",
        "| CrossFormer-S | nothing ",
        "retinanet_scalablevit-b_fpn_ms-3x_coco.py | missing ",
        "| peer swin-t ",
        "832.9 [",
    ):
        assert line in text


def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, message in {
        "count 9": "there is no table 9; there are 2, 3-retinanet",
        "list table2": "there is no table table2",
        "count configs/none.py": "config configs/none.py does not exist",
        "count 7 --out nowhere/counts.md": "there is no such folder",
        "count --tables none.yml": "none.yml cannot be read",
    }.items():
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            run_tool(*words.split())
