from pathlib import Path

import pytest

from mmscalablevit.errors import UsageError
from mmscalablevit.prediction.images import find_images, name_predictions


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/a/1.jpg",
        "photos/a/2.PNG",
        "photos/b/1.jpg",
        "photos/notes.txt",
        "photos/.cache/1.jpg",
        "out/pictures/1.png",
        "data/scan",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("linked").symlink_to("photos/a", target_is_directory=True)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["photos"], ["photos/a/1.jpg", "photos/a/2.PNG", "photos/b/1.jpg"]),
        (["photos/b/1.jpg", "photos"], ["photos/b/1.jpg", "photos/a/1.jpg", "photos/a/2.PNG"]),
        (["photos/*/1.*"], ["photos/a/1.jpg", "photos/b/1.jpg"]),
        (["photos/[b]"], ["photos/b/1.jpg"]),
        (["photos/**"], ["photos/a/1.jpg", "photos/a/2.PNG", "photos/b/1.jpg"]),
        (["linked", "photos/a"], ["linked/1.jpg", "linked/2.PNG"]),  # each once
        (["data/scan"], ["data/scan"]),  # named alone it needs no suffix
        (["."], ["linked/1.jpg", "linked/2.PNG", "photos/b/1.jpg"]),
    ],
)
def test_files_folders_and_patterns(home, inputs, expected):
    assert find_images(inputs, [Path("out/pictures")]) == [Path(name) for name in expected]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["photo"], "there is no image or folder photo\n  did you mean photos?"),
        (["photos", "photos/*.gif"], r"there is no image or folder photos/\*.gif"),
        (["data", "out"], "no image in data, out: none ends in .jpg"),
    ],
)
def test_nothing_found_is_told(home, inputs, message):
    with pytest.raises(UsageError, match=message):
        find_images(inputs, [Path("out/pictures")])


def test_no_two_images_share_a_name(home):
    def named(*images):
        return list(name_predictions([Path(image) for image in images]).values())

    assert named("photos/a/1.jpg", "photos/b/1.jpg") == ["a/1", "b/1"]
    assert named("photos/a/1.jpg", "photos/a/2.PNG") == ["1", "2"]
    assert named("a/1.jpg", "a/1.png", "a/1.jpg.bmp") == ["1.jpg", "1.png", "1.jpg.bmp"]
    assert named("photos/a/1.jpg", "../elsewhere/1.jpg")[1] == "elsewhere/1"
    assert named("photos/a/1.jpg") == ["1"]
