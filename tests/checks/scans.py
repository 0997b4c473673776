"""A data set without files."""

from __future__ import annotations

from typing import ClassVar

from mmengine.dataset import BaseDataset


class Scans(BaseDataset):
    """As many samples as its annotation file's name says."""

    METAINFO: ClassVar = {"classes": ["scan", "photo"]}

    def load_data_list(self) -> list[dict]:
        return [{"img_path": f"{number}.png"} for number in range(int(self.ann_file))]
