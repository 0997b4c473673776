from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from mmscalablevit.checks import require
from mmscalablevit.checks.classes import class_findings, inner_datasets
from mmscalablevit.checks.configs import named_datasets
from mmscalablevit.checks.datasets import file_findings, folder_findings, part_findings
from mmscalablevit.checks.evaluators import evaluator_findings
from mmscalablevit.checks.failures import explain
from mmscalablevit.checks.label_maps import head_findings
from mmscalablevit.checks.samples import loader_findings
from mmscalablevit.errors import Finding, UsageError, listed
from tests.checks.scans import Scans
from tests.leaves import LEAVES, load


def test_a_run_stops_at_the_first_failure_and_hears_of_warnings_before_it(caplog) -> None:
    def findings():
        yield Finding("train data", "ok", "3 samples")
        yield Finding("train classes", "warn", "two heads", "look at them")
        yield Finding("train boxes", "fail", "no boxes", "add some")
        raise AssertionError("what comes after a failure is not looked for")

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(UsageError) as stopped:
            require(findings(), "train_dataloader: ")
    finally:
        logger.removeHandler(caplog.handler)
    assert str(stopped.value) == "train_dataloader: no boxes\n  add some"
    assert caplog.messages == ["train_dataloader: two heads\n  look at them"]
    require([Finding("train data", "ok", "3 samples", "nothing")])


def test_long_lists_are_cut() -> None:
    assert listed([], 5) == ""
    assert listed(range(5), 5) == "0, 1, 2, 3, 4"
    assert listed("abcdefg", 4) == "a, b, c, d and 3 more"


def wrapped() -> ConfigDict:
    one, two, three = ({"type": Scans, "ann_file": str(number)} for number in (1, 2, 3))
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": two}
    return ConfigDict(type="ConcatDataset", datasets=[one, repeated, three])


def test_data_sets_are_found_inside_wrappers_by_their_places_and_built() -> None:
    cfg = Config({"train_dataloader": {"dataset": wrapped()}})
    places = {place: found.ann_file for place, found in named_datasets(cfg, "train")}
    assert places == {
        "train_dataloader.dataset.datasets.0": "1",
        "train_dataloader.dataset.datasets.1.dataset": "2",
        "train_dataloader.dataset.datasets.2": "3",
    }
    assert not list(named_datasets(cfg, "val"))
    built = DATASETS.build(wrapped())
    assert [len(dataset) for dataset in inner_datasets(built)] == [1, 2, 3]


def test_a_loader_without_samples_or_batches() -> None:
    def status(size: int, **settings) -> tuple[str, str]:
        loader = torch.utils.data.DataLoader(Scans(ann_file=str(size)), **settings)
        finding, *_ = loader_findings({}, "val", loader)
        return finding.status, finding.found

    assert status(5, batch_size=2) == ("ok", "5 samples, 3 batches")
    state, found = status(5, batch_size=8, drop_last=True)
    assert state == "fail" and found.startswith("5 samples do not fill a batch of 8")


def test_classes_without_a_sample_are_told_and_those_without_an_output_refused() -> None:
    dataset = Scans(ann_file="1")
    for number, status in ((1, "fail"), (2, "ok"), (3, "warn")):
        (finding,) = class_findings({"head": {"num_classes": number}}, "val", dataset)
        assert finding.status == status
    assert "(scan, photo), the model model.head.num_classes=3" in finding.found
    assert "--cfg-options model.head.num_classes=2" in finding.remedy
    heads = {
        "decode_head": [{"num_classes": 2}, {"num_classes": 5}],
        "rpn_head": {"num_classes": 1},
    }
    (finding,) = class_findings(heads, "val", dataset)
    assert "model.decode_head.1.num_classes=5" in finding.found
    rpn = {"type": "RPN", "rpn_head": {"num_classes": 1}}
    (finding,) = class_findings(rpn, "val", dataset)
    assert finding.status == "ok"


def test_files_that_are_not_on_this_disk_are_let_pass(tmp_path) -> None:
    def faults(dataset: dict, evaluator: object = None) -> list[str]:
        loader = {"dataset": {"type": "CocoDataset", **dataset}}
        cfg = Config({"val_dataloader": loader, "val_evaluator": evaluator})
        return [finding.found for finding in file_findings(cfg, "val")]

    (tmp_path / "here.json").write_text("{}")
    root, remote = str(tmp_path), {"backend": "petrel"}
    assert not faults({"data_root": root, "ann_file": "here.json"})
    assert not faults({"data_root": "s3://bucket", "ann_file": "a.json"})
    assert not faults({"data_root": root, "ann_file": "a.json", "backend_args": remote})
    (found,) = faults({"data_root": root, "ann_file": "a.json", "data_prefix": {"img": "images"}})
    assert "val_dataloader.dataset: data_prefix images" in found and "a.json" in found
    evaluator = {"type": "CocoMetric", "ann_file": "absent.json"}
    (found,) = faults({}, [{"type": "Accuracy"}, evaluator])
    assert found == "val_evaluator.1: ann_file absent.json does not exist"
    assert not faults({}, {**evaluator, "backend_args": remote})
    assert not faults({}, {**evaluator, "ann_file": "https://host/absent.json"})


def test_data_that_download_themselves_may_be_absent() -> None:
    pytest.importorskip("mmpretrain.datasets")

    def faults(**dataset: object) -> list[Finding]:
        loader = {"dataset": {"data_root": "absent", **dataset}}
        return list(
            file_findings(
                Config({"default_scope": "mmpretrain", "train_dataloader": loader}), "train"
            )
        )

    assert not faults(type="CIFAR10") and not faults(type="MNIST")
    assert len(faults(type="CIFAR10", download=False)) == len(faults(type="ImageNet")) == 1
    failure = URLError(OSError(-2, "Name or service not known"))
    assert "cannot be reached: [Errno -2] Name" in (explain(failure, "config.py") or "")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, workers: int) -> None:
    (tmp_path / "0.png").write_bytes(b"no image")
    dataset = Scans(ann_file="1")
    place = {"img_path": str(tmp_path / "0.png")}
    dataset.pipeline = Compose([lambda info: {**info, **place}, LoadImageFromFile()])
    loader = torch.utils.data.DataLoader(dataset, num_workers=workers)
    with pytest.raises(AssertionError) as caught:
        list(loader)
    expected = f"{tmp_path}/0.png cannot be decoded: it is damaged or no image"
    assert explain(caught.value, "config.py") == expected


def test_parts_that_belong_together() -> None:
    complete = {"val_dataloader": {}, "val_cfg": {}, "val_evaluator": []}
    assert not list(part_findings(Config({}))) and not list(part_findings(Config(complete)))
    (finding,) = part_findings(Config({**complete, "val_dataloader": None}))
    assert finding.status == "fail"
    assert finding.found == "the config has val_cfg and val_evaluator, but no val_dataloader"
    assert finding.remedy.endswith("--cfg-options val_cfg=None val_evaluator=None")
    (finding,) = part_findings(Config({**complete, "train_cfg": {}}))
    assert "but no train_dataloader and no optim_wrapper" in finding.found


def test_each_class_has_a_folder(tmp_path) -> None:
    pytest.importorskip("mmpretrain")
    cfg = Config({"default_scope": "mmpretrain"})

    def found(*classes: str, **settings: object) -> list[str]:
        dataset = {"type": "CustomDataset", "data_root": str(tmp_path), "data_prefix": "train"}
        dataset.update(metainfo={"classes": classes}, **settings)
        return [finding.found for finding in folder_findings(cfg, "train", dataset)]

    for name in ("cat", "dog", ".trash"):
        (tmp_path / "train" / name).mkdir(parents=True)
    (text,) = found("cat", "dog")
    assert text == f"{tmp_path}/train has 3 folders for 2 classes; of no class: .trash"
    assert found("cat", "dog", "cow", "ant")[0].endswith("without a folder: cow, ant")
    assert found("Katze", "Hund")[0].endswith("has 3 folders for 2 classes")
    assert not found("cat", "dog", "cow") and not found()  # MMPretrain compares numbers alone
    assert not found("cat", ann_file="list.txt") and not found("cat", with_label=False)
    assert not found("cat", type="NoSuchDataset")


@pytest.mark.parametrize("name", ["mmpretrain", "mmdet", "mmseg"])
def test_no_config_of_the_repository_is_refused(name: str) -> None:
    pytest.importorskip(name)
    configs = [load(leaf) for leaf in LEAVES]
    configs = [cfg for cfg in configs if cfg.default_scope == name]
    assert len(configs) > 5
    for cfg in configs:
        splits = [evaluator_findings(cfg, split) for split in ("val", "test")]
        for findings in (part_findings(cfg), head_findings(cfg), *splits):
            assert not list(findings), cfg.filename
