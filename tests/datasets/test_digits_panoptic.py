import json

import numpy as np
import pytest
from PIL import Image

from mmscalablevit.datasets import prepare_digits
from mmscalablevit.datasets.digits_panoptic import BACKGROUND


@pytest.mark.parametrize("overlap", [False, True])
def test_segments_cover_the_scenes_and_agree_with_the_instances(tmp_path, overlap):
    prepare_digits(tmp_path / "d", tasks=["detection"], num_train=3, num_val=2, overlap=overlap)
    folder = tmp_path / "d" / "detection" / "annotations"
    for split, count in (("train", 3), ("val", 2)):
        panoptic = json.loads((folder / f"panoptic_{split}2017.json").read_text())
        instances = json.loads((folder / f"instances_{split}2017.json").read_text())
        assert panoptic["images"] == instances["images"]
        assert [c["isthing"] for c in panoptic["categories"]] == 10 * [1] + [0]
        assert len(panoptic["annotations"]) == count
        for entry in panoptic["annotations"]:
            color = np.asarray(Image.open(folder / f"panoptic_{split}2017" / entry["file_name"]))
            assert not color[..., 1:].any()
            ids = color[..., 0]
            background, *digits = entry["segments_info"]
            assert background["category_id"] == BACKGROUND
            assert set(np.unique(ids)) == {segment["id"] for segment in entry["segments_info"]}
            known = [a for a in instances["annotations"] if a["image_id"] == entry["image_id"]]
            for segment, instance in zip(digits, known, strict=True):
                assert segment["area"] == instance["area"] == (ids == segment["id"]).sum()
                assert segment["category_id"] == instance["category_id"]
                assert segment["bbox"] == instance["bbox"]
