"""Logs, checkpoints and configs of runs, whole and damaged."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config

from mmscalablevit.cli.provenance import config_content, differences
from mmscalablevit.reproduction import changes, logs
from mmscalablevit.runner import resume
from tests.reproduction.making import train_records, write_checkpoint, write_config, write_start


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "cls.py"
    write_config(path, "max_epochs=4")
    return path


def iterations(records):
    return [record.iteration for record in records]


def test_a_resumed_run_gives_one_curve(tmp_path, config):
    """The first start logs to iteration 13 and validates after 5 and 10; the second goes on from
    the checkpoint of iteration 5, so that 6 to 13 and the validation after 10 are its own."""
    work = tmp_path / "cls"
    first = [*train_records(1, 5, per_epoch=5), {"acc": 1.0, "step": 1}]
    first += [*train_records(6, 10, per_epoch=5), {"acc": 2.0, "step": 2}]
    first += train_records(11, 13, per_epoch=5)
    second = [*train_records(6, 10, per_epoch=5), {"acc": 9.0, "step": 2}]
    second += train_records(11, 15, per_epoch=5)
    for record in second:
        if "loss" in record:
            record["loss"] += 100
    write_start(work, config, first, "20260101_000000")
    write_start(work, config, [], "20260101_000001")  # died before its first record
    write_start(work, config, second, "20260102_000000")
    curve = logs.read_curve(work)
    assert iterations(curve.train) == list(range(1, 16))
    assert [record.values["loss"] > 100 for record in curve.train] == [False] * 5 + [True] * 10
    assert [(record.step, record.values["acc"]) for record in curve.val] == [(1, 1.0), (2, 9.0)]
    assert curve.train[-1].epoch == 3 and curve.resumed == [6] and not curve.problems


def test_a_validation_that_a_resumption_has_undone_is_dropped(tmp_path, config):
    work = tmp_path / "cls"
    write_start(work, config, [*train_records(1, 10), {"acc": 2.0, "step": 2}])
    write_start(work, config, train_records(6, 7), "20260102_000000")
    curve = logs.read_curve(work)
    assert iterations(curve.train) == [1, 2, 3, 4, 5, 6, 7] and not curve.val


def test_a_validation_at_the_point_of_resumption_stays(tmp_path, config):
    work = tmp_path / "seg"
    write_start(work, config, [*train_records(2, 10, 2), {"acc": 2.0, "step": 10}])
    write_start(work, config, train_records(12, 14, 2), "20260102_000000")
    curve = logs.read_curve(work)
    assert [record.step for record in curve.val] == [10]
    assert iterations(curve.train) == [2, 4, 6, 8, 10, 12, 14]


def test_damaged_lines_are_named_and_the_rest_is_read(tmp_path, config):
    start = write_start(tmp_path / "cls", config, train_records(1, 3))
    path = start / "vis_data" / "scalars.json"
    text = path.read_text().splitlines()
    bad = ["{", "[1]", '{"step": "x"}', '{"step": -1}', '{"loss": 1}', "[" * 100_000, "\x00\x01"]
    bad += ['{"lr": 1, "iter": 1, "step": 1' + "0" * 500 + "}", '{"step": NaN, "lr": 1}']
    good = '{"lr": 1, "loss": NaN, "name": "x", "flag": true, "step": 4, "big": 1' + "0" * 400 + "}"
    path.write_text("\n".join([text[0], *bad, *text[1:], good, text[2][:20]]))
    curve = logs.read_curve(tmp_path / "cls")
    assert iterations(curve.train) == [1, 2, 3, 4]
    assert curve.train[-1].values.keys() == {"lr", "loss", "step"}
    (problem,) = curve.problems
    assert "scalars.json: damaged lines: 2, 3, 4, 5, 6 and" in problem


def test_a_log_that_ends_within_a_line_is_told(tmp_path, config):
    start = write_start(tmp_path / "cls", config, train_records(1, 3))
    path = start / "vis_data" / "scalars.json"
    path.write_bytes(path.read_bytes()[:-9])
    curve = logs.read_curve(tmp_path / "cls")
    assert iterations(curve.train) == [1, 2]
    assert curve.problems == [f"{path}: the last line is cut short"]


def test_a_directory_in_place_of_a_log_is_told(tmp_path):
    path = tmp_path / "cls" / "20260101_000000" / "vis_data" / "scalars.json"
    path.mkdir(parents=True)
    assert "cannot be read" in logs.read_curve(tmp_path / "cls").problems[0]
    assert logs.read_curve(tmp_path / "nothing").problems == []


def test_dumped_configs_are_read_as_mmengine_reads_them(tmp_path):
    path = tmp_path / "c.py"
    path.write_text(
        "model = dict(type='M', sizes=(1, (2, -3.5e-4)), names=['a', None, True])\n"
        "weird = {'a b': {1: 'x'}, 'if': dict(y=0.1)}\nempty = dict()\nwords = 'it\\'s\\nall'\n"
    )
    cfg = Config.fromfile(path)
    cfg.dump(tmp_path / "dumped.py")
    assert logs.read_config(tmp_path / "dumped.py") == cfg.to_dict()


@pytest.mark.parametrize(
    "text",
    ["x = open('victim', 'w')", "import os", "x = __import__('os')", "x = [", "x = 1 + a", "\x00"],
)
def test_configs_with_code_are_refused_and_not_executed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(logs.DamagedFileError, match=r"config.py is damaged"):
        logs.read_config(tmp_path / "config.py")
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


def test_metrics_of_another_checkpoint_are_passed_over(tmp_path):
    path = tmp_path / "metrics.json"
    assert logs.read_metrics(path, "a.pth") is None
    metrics = {"mIoU": 1, "x": "y"}
    path.write_text(json.dumps({"checkpoint": "w/a.pth", "metrics": metrics}))
    assert logs.read_metrics(path, "a.pth") == {"mIoU": 1.0}
    with pytest.raises(logs.DamagedFileError, match=r"is of w/a.pth, not of b.pth"):
        logs.read_metrics(path, "b.pth")
    for text in ("", "[]", "{}", '{"metrics": 3, "checkpoint": "a.pth"}', "{" * 10_000):
        path.write_text(text)
        with pytest.raises(logs.DamagedFileError, match="damaged"):
            logs.read_metrics(path, "a.pth")


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    for epoch in (1, 2, 10):
        write_checkpoint(tmp_path / f"epoch_{epoch}.pth")
    cut = tmp_path / "epoch_10.pth"
    cut.write_bytes(cut.read_bytes()[:-30])
    (tmp_path / "epoch_11.pth").mkdir()
    (tmp_path / "best_acc_epoch_12.pth").write_bytes(b"")
    path, problems = logs.newest_checkpoint(tmp_path)
    assert path == tmp_path / "epoch_2.pth"
    assert [p.split(" is")[0] for p in problems] == [str(tmp_path / "epoch_11.pth"), str(cut)]


def test_checkpoints_from_within_an_epoch_count_and_those_of_an_earlier_run_do_not(tmp_path):
    for name in ("epoch_2.pth", "epoch_2_iter_13.pth", "epoch_1_iter_9.pth", "epoch_300.pth"):
        write_checkpoint(tmp_path / name)
    resume.note_last(tmp_path, "epoch_2_iter_13.pth")
    assert logs.newest_checkpoint(tmp_path) == (tmp_path / "epoch_2_iter_13.pth", [])
    (tmp_path / "epoch_2_iter_13.pth").write_bytes(b"PK")
    problem = f"{tmp_path / 'epoch_2_iter_13.pth'} is not a whole checkpoint"
    assert logs.newest_checkpoint(tmp_path) == (tmp_path / "epoch_2.pth", [problem])


def test_changes_name_what_differs_and_nothing_of_how_a_run_was_started(tmp_path, config):
    work = tmp_path / "cls"
    write_start(work, config, train_records(1, 3))
    (before,), problems = changes.trained_contents(work)
    assert not problems
    cfg = Config.fromfile(config)
    assert differences(before, config_content(cfg.to_dict())) == []
    cfg.optim_wrapper.optimizer.lr = 0.2
    cfg.optim_wrapper.optimizer.betas = (0.9, 0.99)
    cfg.randomness = {"seed": 3}
    cfg.load_from = "x.pth"
    cfg.auto_scale_lr.enable = True
    assert differences(before, config_content(cfg.to_dict())) == [
        "optim_wrapper.optimizer.betas: [0.9, 0.999] -> [0.9, 0.99]",
        "optim_wrapper.optimizer.lr: 0.1 -> 0.2",
        "randomness.seed: nothing -> 3",
    ]


def test_the_config_of_a_run_without_logs_is_read_from_its_checkpoint(tmp_path, config):
    work = tmp_path / "cls"
    cfg = Config.fromfile(config)
    write_checkpoint(work / "epoch_2.pth", cfg.pretty_text)
    contents, problems = changes.trained_contents(work)
    assert contents == [config_content(cfg.to_dict())] and not problems
    write_checkpoint(work / "epoch_3.pth", "import os")
    contents, problems = changes.trained_contents(work)
    assert contents == [] and "epoch_3.pth does not say which config" in problems[0]
