"""The papers' tables in configs/published.yml, against figures read from the papers."""

from __future__ import annotations

import re

import pytest
import yaml

from mmscalablevit.reproduction.peers import CLASSIFIERS, PLAIN_CLASSIFIERS, PYRAMIDS
from mmscalablevit.reproduction.published import Table, load_tables
from tests.reproduction.making import ROOT


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return load_tables()


# Typed in by hand, from each table at least one row of ours and one of another paper's.
SPOTS = [
    ("2", "ScalableViT-S", {"params": 32, "flops": 4.2, "top1": 83.1}),
    ("2", "ScalableViT-L", {"params": 104, "flops": 14.7, "top1": 84.4}),
    ("2", "Swin-T", {"params": 29, "flops": 4.5, "top1": 81.3}),
    ("2", "CoaT(S)", {"params": 22, "flops": 12.6, "top1": 82.1}),
    ("3-retinanet", "ScalableViT-S", {"flops": 238, "ap_1x": 45.2, "apl_1x": 60.3, "ap_3x": 47.8}),
    ("3-retinanet", "ScalableViT-L", {"params": 112.6, "ap_1x": 46.8}),
    ("3-retinanet", "PVT-Medium", {"aps_1x": 25.0, "ap75_3x": 46.1}),
    ("3-mask-rcnn", "ScalableViT-B", {"apb_1x": 46.8, "apm_1x": 42.5, "apm_3x": 43.8}),
    ("3-mask-rcnn", "Twins-SVT-B", {"params": 76, "flops": 340, "apb50_3x": 69.5}),
    ("4-semantic-fpn", "ScalableViT-B", {"params": 79, "flops": 270, "miou": 48.4}),
    ("4-semantic-fpn", "ResNet50", {"params": 29, "flops": 183, "miou": 36.7}),
    ("4-upernet", "ScalableViT-L", {"flops": 1162, "miou": 49.8, "miou_ms": 50.7}),
    ("4-upernet", "ResNet101", {"params": 86, "flops": 1092, "miou_ms": 44.9}),
    ("5a", "WSA", {"params": 30, "flops": 4.3, "top1": 82.4, "miou": 38.9}),
    ("5b", "LIM", {"top1": 83.0, "miou": 43.7}),
    ("6", "Swin-S", {"throughput": 589.2}),
    ("7", "ScalableViT-S with LEM", {"params": 30, "flops": 174, "top1": 83.0, "miou": 41.1}),
    ("stvit-imagenet-224", "STViT-S", {"params": 25, "flops": 4.4, "top1": 83.6}),
    ("stvit-imagenet-224", "STViT-B", {"params": 52, "flops": 9.9, "top1": 84.8}),
    ("stvit-imagenet-224", "STViT-L", {"params": 95, "flops": 15.6, "top1": 85.3}),
    ("stvit-imagenet-384", "STViT-S", {"params": 25, "flops": 14.1, "top1": 85.0}),
    ("stvit-imagenet-384", "STViT-B", {"params": 52, "flops": 32.5, "top1": 86.0}),
    ("stvit-imagenet-384", "STViT-L", {"params": 95, "flops": 49.7, "top1": 86.4}),
    ("stvit-cascade", "best of the paper", {"apb": 53.9, "apm": 46.8}),
    ("stvit-upernet", "best of the paper", {"miou": 51.9}),
    ("lvt-imagenet", "LVT", {"params": 3.4, "flops": 0.9, "top1": 74.8}),
    ("lvt-segformer", "LVT", {"params": 3.9, "flops": 10.6, "miou": 39.3}),
    ("lvt-panoptic", "LVT", {"params": 5.4, "flops": 56.4, "pq_3x": 42.8, "pqst_3x": 32.6}),
]


def test_figures_are_those_of_the_papers(tables: dict[str, Table]) -> None:
    for key, name, figures in SPOTS:
        row = next(row for row in tables[key].rows if row.name == name)
        assert {column: row.published[column] for column in figures} == figures, (key, name)


# The number of rows of each table, and height and width of the image that its FLOPs are of.
SHAPES = {
    "2": (33, (224, 224)),
    "3-retinanet": (12 + 1, (800, 1280)),  # the last one is in the authors' repository alone
    "3-mask-rcnn": (14 + 1, (800, 1280)),
    "4-semantic-fpn": (18, (512, 2048)),
    "4-upernet": (13, (512, 2048)),  # five of the 18 backbones have no UperNet
    "5a": (7, (224, 224)),
    "5b": (6, (224, 224)),
    "6": (4, (224, 224)),
    "7": (2, (512, 2048)),
    "stvit-imagenet-224": (3, (224, 224)),
    "stvit-imagenet-384": (3, (384, 384)),
    "stvit-mask-rcnn": (3, (800, 1280)),
    "stvit-cascade": (3 + 1, (800, 1280)),  # the last one are the best figures of the paper
    "stvit-upernet": (3 + 1, (512, 2048)),
    "lvt-imagenet": (1 + 2, (224, 224)),  # with labels of images alone, and with a plain head
    "lvt-segformer": (1, (512, 512)),
    "lvt-panoptic": (1, (800, 1344)),
}


def test_tables_have_all_rows_and_the_size_that_they_name(tables: dict[str, Table]) -> None:
    found = {key: (len(table.rows), table.input_size) for key, table in tables.items()}
    assert found == SHAPES
    for table in tables.values():  # ScalableViT's alone leave attention's products out
        assert (table.flops == "layers") == table.source.startswith("ScalableViT, Table")


def test_every_row_of_ours_has_its_config_and_every_config_a_row(tables: dict[str, Table]) -> None:
    behind = set()
    for table in tables.values():
        for row in table.rows:
            ours = row.name.startswith(("ScalableViT", "STViT", "LVT"))
            assert bool(row.runs) == (ours or table.key[0] == "5")
            measured = {column for run in row.runs for column in run.columns}
            if row.runs:
                unmeasured = row.published.keys() - measured
                server = {"pq_dev", "pqth_dev", "pqst_dev"}  # COCO's, which has test-dev's truth
                assert unmeasured <= {"params", "flops", "throughput"} | server, row
            behind |= {run.config for run in row.runs}
    families = ("scalablevit", "stvit", "lvt")
    configs = {path for name in families for path in (ROOT / "configs").glob(f"*/{name}/*.py")}
    assert behind == {path for path in configs if not path.stem.endswith("test-dev")}


def test_a_run_on_dense_data_or_larger_images_starts_from_the_classifier_of_its_model(
    tables: dict[str, Table],
) -> None:
    for run in (run for table in tables.values() for row in table.rows for run in row.runs):
        name, needs = run.config.stem, run.needs.stem if run.needs else None
        if "_8xb128_in1k" in name:
            assert needs is None
        elif run.config.parts[-2] == "lvt":
            assert needs == "lvt-ca_8xb128_in1k-token-label"
        elif "classification" in run.config.parts:
            assert name == f"{needs.removesuffix('_8xb128_in1k')}_8xb64_in1k-384px"
        else:  # whose names have the size's first letter
            model = needs.removesuffix("_8xb128_in1k")
            expected = re.sub("-(small|base|large)", lambda match: match[0][:2], model)
            assert needs.endswith("_8xb128_in1k") and f"{expected}_" in name
            assert run.config.parts[-2] == model.split("-")[0]


def test_every_peer_is_known(tables: dict[str, Table]) -> None:
    classifiers = {*CLASSIFIERS, *PLAIN_CLASSIFIERS}
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for key, table in tables.items():
        used[key[0] in "26"] |= {row.peer for row in table.rows if row.peer}
    assert used == {True: classifiers, False: set(PYRAMIDS)}


def test_a_peer_that_nobody_has_says_so(tables: dict[str, Table]) -> None:
    missing = {row.name.split("-")[0].split("(")[0] for row in tables["2"].rows if row.missing}
    assert missing == {"RegNetY", "CoaT", "CvT", "CrossFormer"}


def test_no_key_is_there_twice() -> None:
    # YAML takes the last of two equal keys without a word.
    def keys(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value]
            assert len(names) == len(set(names)), node.start_mark
        for child in node.value if isinstance(node, yaml.CollectionNode) else ():
            for inner in child if isinstance(child, tuple) else (child,):
                keys(inner)

    for name in ("published", "digits"):
        keys(yaml.compose((ROOT / f"configs/{name}.yml").read_text(encoding="utf-8")))
