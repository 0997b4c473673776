from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine.dataset import RepeatDataset

from mmscalablevit.checks.classes import (
    class_findings,
    data_classes,
    differing_numbers,
    loader_classes,
    numbering_findings,
)
from tests.checks.scans import Scans

PETS = ["cat", "dog", "hamster"]


def test_the_same_names_have_the_same_numbers() -> None:
    assert (
        differing_numbers(["dog", "hamster"], PETS)
        == "'dog' is label 0, not 1, 'hamster' is label 1, not 2"
    )
    assert (
        differing_numbers(PETS[::-1], PETS)
        == "'hamster' is label 0, not 2, 'cat' is label 2, not 0"
    )
    # Some of the classes, other spellings and names that occur twice are no contradiction.
    for same in ([], PETS, PETS[:2], [*PETS, "parrot"], ["Cat", "Dog", "Hamster"], ["cat", "Hund"]):
        assert not differing_numbers(same, PETS)
    birds = ["crane", "stork", "crane"]
    assert not differing_numbers(birds, birds)


def loader(names: list[str]) -> torch.utils.data.DataLoader:
    dataset = Scans(ann_file="2", metainfo={"classes": names})
    return torch.utils.data.DataLoader(RepeatDataset(dataset, times=2))


def test_all_data_sets_of_a_config_are_compared_with_the_first() -> None:
    sound = loader_classes({"train": loader(PETS), "val": loader(PETS[:2])})
    assert sound == {"train_dataloader": PETS, "val_dataloader": PETS[:2]}
    assert not list(numbering_findings(sound)) and not list(numbering_findings({}))
    wrong = loader_classes({"train": loader(PETS), "val": loader(PETS), "test": loader(PETS[1:])})
    (finding,) = numbering_findings(wrong)
    assert finding.name == "test classes" and finding.status == "fail"
    assert "test_dataloader numbers its classes otherwise than train_dataloader" in finding.found


def test_a_panoptic_data_sets_classes_are_its_things() -> None:
    assert data_classes({"classes": ["cat", "sky"], "thing_classes": ["cat"]}) == ["cat"]
    assert data_classes({}) is None and data_classes(None) is None


def test_names_by_folders_are_trusted_only_beside_the_training() -> None:
    """Fewer folders than classes: which of the classes they are, only names can tell."""
    model = {"head": {"num_classes": 3}}
    named = SimpleNamespace(metainfo={"classes": PETS[1:]}, folder_to_idx={"dog": 0, "hamster": 1})
    for alone, status in ((False, "warn"), (True, "fail")):
        (finding,) = class_findings(model, "test", named, alone)
        assert finding.status == status
    assert "num_classes" not in finding.remedy and "metainfo.classes" in finding.remedy
    renamed = SimpleNamespace(metainfo={"classes": ["Hund", "Hamster"]}, folder_to_idx={"dog": 0})
    (finding,) = class_findings(model, "test", renamed, True)
    assert finding.status == "warn"
