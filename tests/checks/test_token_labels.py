from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from mmscalablevit.checks.failures import explain
from mmscalablevit.checks.token_labels import token_label_findings
from mmscalablevit.datasets.token_labels import LoadTokenLabels

MODEL = {"head": {"num_classes": 10}}


class Images(BaseDataset):
    """Six images of one class; nothing is read but their label maps."""

    def load_data_list(self) -> list[dict]:
        return [{"img_path": f"train/c/{number}.jpg"} for number in range(6)]


@pytest.fixture
def place(tmp_path):
    """Six whole maps."""
    (tmp_path / "c").mkdir()
    for number in range(6):
        torch.save(torch.ones(2, 5, 7, 7).half(), tmp_path / "c" / f"{number}.pt")
    return tmp_path


def examine(place, model=MODEL):
    dataset = Images(pipeline=[LoadTokenLabels(str(place))])
    return [
        (finding.name, finding.status, finding.found, finding.remedy)
        for finding in token_label_findings(model, "train", dataset, 32)
    ]


def test_whole_maps(place):
    found = "6 of 6 read, 5 classes at 7x7 cells"
    assert examine(place) == [("train token labels", "ok", found, "")]


def test_a_pipeline_without_them():
    assert not list(token_label_findings(MODEL, "val", SimpleNamespace(), 32))
    assert not list(token_label_findings(MODEL, "val", Images(pipeline=[]), 32))


def test_missing_and_malformed_maps(place):
    (place / "c" / "1.pt").unlink()
    (place / "c" / "2.pt").write_bytes(b"no map")
    ((_, status, found, remedy),) = examine(place)
    assert status == "fail"
    assert found == f"{place}/c/1.pt does not exist (and 1 more of 6)"
    assert remedy.startswith("write the maps with tools/make_token_labels.py")


def test_classes_that_the_model_does_not_have(place):
    maps = torch.ones(2, 5, 7, 7).half()
    maps[1, 0, 3, 3] = 10
    torch.save(maps, place / "c" / "4.pt")
    ((_, status, found, _),) = examine(place)
    assert (status, found) == ("fail", f"{place}/c/4.pt has class 10, the model has 10")
    assert examine(place, {"head": {"num_classes": 11}})[0][1] == "ok"


def test_maps_of_several_sizes(place):
    torch.save(torch.ones(2, 5, 8, 8).half(), place / "c" / "4.pt")
    ((_, status, found, _),) = examine(place)
    assert status == "fail"
    assert f"{place}/c/4.pt is (2, 5, 8, 8)" in found


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_that_finds_none_names_file_and_remedy(place, workers):
    (place / "c" / "3.pt").unlink()
    dataset = Images(pipeline=[LoadTokenLabels(str(place)), lambda results: 0])
    with pytest.raises(ValueError) as caught:
        list(DataLoader(dataset, num_workers=workers))
    found, remedy = explain(caught.value, "config.py").split("\n")
    assert found == f"token labels: {place}/c/3.pt does not exist"
    assert remedy.startswith("  write the maps with tools/make_token_labels.py")
