"""What runs tables need, in which order and on how many GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmscalablevit.cli.config import load_config
from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction import plan
from mmscalablevit.reproduction.published import load_tables
from tests.reproduction.making import ROOT, write_config, write_tables


def plan_all(path: Path, *names: str) -> list[plan.Training]:
    tables = load_tables(path)
    chosen = [tables[name] for name in names]
    return plan.plan(tables, plan.select_rows(chosen), Path("runs"))


@pytest.fixture(scope="module")
def paper() -> list[plan.Training]:
    """The trainings behind all tables of the papers."""
    path = ROOT / "configs" / "published.yml"
    return plan_all(path, *load_tables(path))


@pytest.mark.slow
def test_published_schedules(paper):
    """GPUs and length as the recipes have them: from the names, and 8 x 2 for detection."""
    lengths = {
        "lvt-ca_8xb128_in1k": 310, "in1k": 300, "in1k-384px": 30, "1x": 12, "ms-3x": 36,
        "4xb4-80k": 80_000, "8xb2-160k": 160_000,
    }  # fmt: skip
    for training in paper:
        schedule, name = training.schedule, training.name.removesuffix("-token-label")
        named = re.search(r"(\d+)xb(\d+)", name)
        by_task = (8, 8) if "panoptic" in name else (8, 2)
        gpus, batch = (int(named[1]), int(named[2])) if named else by_task
        assert (schedule.gpus, schedule.batch_size) == (gpus, batch), name
        length = next(value for part, value in lengths.items() if re.search(f"{part}(_|$)", name))
        assert (schedule.length, schedule.by_epoch) == (length, length <= 310), name


@pytest.mark.slow
def test_what_the_papers_runs_need_comes_before_them(paper):
    configs = [training.config for training in paper]
    assert len(set(configs)) == len(configs)
    later = [training for training in paper if "_8xb128_in1k" not in training.name]
    assert len(later) > 15 + 18
    for training in later:
        assert configs.index(training.needs.config) < configs.index(training.config)
        assert training.released.suffix == ".pth"
        whole = training.weights_key == "load_from"
        assert whole == training.name.endswith("384px"), training.name


def test_the_digits_can_be_planned():
    path = ROOT / "configs" / "digits.yml"
    trainings = plan_all(path, *load_tables(path))
    assert len(trainings) == 12
    assert all(training.schedule.gpus == 1 and not training.needs for training in trainings)


@pytest.mark.slow
def test_the_ablations_in_miniature_differ_as_the_papers_do():
    """In nothing but what the paper's configs change, and in the seed."""

    def changes(backbone: Mapping[str, Any]) -> tuple[list[str], bool, bool]:
        arch = backbone.get("arch", "small")
        arch = {} if arch == "small" else arch
        thin = set(arch.get("channel_ratios", ())) == {1.0}
        return arch.get("attentions", ["IWSA", "SSA"]), arch.get("peg", True), thin

    path = ROOT / "configs" / "ablations.yml"
    small, paper = load_tables(path), load_tables()
    trainings = {training.config: training for training in plan_all(path, *small)}
    assert len(trainings) == 24
    assert len({training.schedule for training in trainings.values()}) == 1
    for part in ("5a", "5b"):
        rows = {row.name: row for row in paper[part].rows}
        assert [row.name for row in small[f"ablations-{part}"].rows] == list(rows)
        for row in small[f"ablations-{part}"].rows:
            assert row.published["imagenet"] == rows[row.name].published["top1"]
            whole = load_config(str(rows[row.name].runs[0].config)).model.backbone
            for seed, run in enumerate(row.runs):
                content = trainings[run.config].content
                assert changes(content["model"]["backbone"]) == changes(whole), row.name
                assert content["randomness"]["seed"] == seed


def test_pretraining_comes_first_also_where_the_table_has_no_row_for_it(tmp_path):
    path = write_tables(tmp_path)
    first, second = plan_all(path, "dense")
    assert (first.name, first.labels, first.final) == ("cls", (), Path("runs/cls/epoch_4.pth"))
    assert (second.needs, second.labels) == (first, ("Segmentor of table dense",))
    assert (second.final, second.released) == (Path("runs/seg/iter_20.pth"), Path("released.pth"))
    assert first.schedule == plan.Schedule(True, 4, 4, 2)
    both = plan_all(path, "both", "dense")
    assert [training.name for training in both] == ["cls", "seg"]
    assert both[1].labels == ("Segmentor of table both", "Segmentor of table dense")


def test_a_whole_models_weights_go_before_its_backbones(tmp_path):
    path = write_tables(tmp_path)
    (_, backbone) = plan_all(path, "dense")
    assert backbone.weights_key == "model.backbone.init_cfg.checkpoint"
    with (tmp_path / "seg.py").open("a") as config:
        config.write("load_from = 'whole.pth'\n")
    first, whole = plan_all(path, "dense")
    assert (whole.weights_key, whole.released) == ("load_from", Path("whole.pth"))
    assert (first.weights_key, first.released) == ("", None)


def test_rows_are_chosen_by_name(tmp_path):
    tables = list(load_tables(write_tables(tmp_path)).values())
    chosen = plan.select_rows(tables, ["segmentor"])
    assert [(table.key, row.name) for table, row in chosen] == [
        ("both", "Segmentor"), ("dense", "Segmentor")
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"no row Classifyer that .* there is Classifier"):
        plan.select_rows(tables, ["Classifyer"])
    with pytest.raises(UsageError, match="table both, dense has no row Peer that has runs"):
        plan.select_rows(tables, ["Peer"])


def change(path: Path, **settings: object) -> None:
    """Change the segmentor's run in a file of tables."""
    content = yaml.safe_load(path.read_text())
    for table in content["tables"].values():
        for row in table["rows"]:
            if row["name"] == "Segmentor":
                row["runs"][0].update(settings)
    path.write_text(yaml.safe_dump(content))


def test_mistakes_are_named(tmp_path):
    path = write_tables(tmp_path)
    change(path, needs="seg.py")
    with pytest.raises(UsageError, match=r"in a circle: seg.py needs seg.py"):
        plan_all(path, "dense")
    write_config(tmp_path / "seg.py", "max_iters=20")
    change(path, needs="cls.py")
    with pytest.raises(UsageError, match=r"needs load_from=\.\.\., or its backbone init_cfg="):
        plan_all(path, "dense")
    write_config(tmp_path / "seg.py", "max_iters=20", batch=3, released="released.pth")
    with pytest.raises(UsageError, match="multiple of the batch size 3"):
        plan_all(path, "dense")
    write_config(tmp_path / "cls.py", "val_interval=3")
    with pytest.raises(UsageError, match="a train_cfg with max_epochs or max_iters"):
        plan_all(path, "both")
    path = write_tables(tmp_path)
    change(path, tests=[{"name": "../x", "arguments": [], "metrics": {}}])
    with pytest.raises(UsageError, match=r"'../x' becomes a directory's"):
        plan_all(path, "dense")
    (tmp_path / "other").mkdir()
    write_config(tmp_path / "other" / "cls.py", "max_epochs=4")
    change(path, needs="other/cls.py", tests=[])
    with pytest.raises(UsageError, match="the same name and so would share"):
        plan_all(path, "both")


def test_the_example_in_the_documentation_can_be_planned(tmp_path):
    text = (ROOT / "docs" / "reproduction.md").read_text()
    (tmp_path / "tables.yml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    write_config(tmp_path / "my_classifier.py", "max_epochs=4")
    write_config(tmp_path / "my_segmentor.py", "max_iters=20", released="released.pth")
    first, second = plan_all(tmp_path / "tables.yml", "mine")
    assert second.needs is first and second.tests[0].arguments == ("--eval", "mIoU", "--tta")
