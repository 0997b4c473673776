"""Tables, configs and work directories as runs leave them, made without running anything."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmscalablevit.cli.provenance import config_content

ROOT = Path(__file__).parents[2]

CONFIG = """
model = dict(type="Classifier", backbone=dict(type="Net", {init_cfg}))
train_dataloader = dict(batch_size={batch})
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=0.1, betas=(0.9, 0.999)))
train_cfg = dict({length})
auto_scale_lr = dict(base_batch_size={total})
"""

PRETRAINED = 'init_cfg=dict(type="Pretrained", checkpoint="{}", prefix="backbone.")'


def load_tool() -> dict[str, Any]:
    """What tools/reproduce.py defines, to be called in this process."""
    return runpy.run_path(str(ROOT / "tools/reproduce.py"))


def write_config(
    path: Path, length: str, batch: int = 4, total: int = 8, released: str | None = None
) -> None:
    """Write a config that plans can be made with."""
    init_cfg = PRETRAINED.format(released) if released else ""
    path.write_text(CONFIG.format(init_cfg=init_cfg, batch=batch, total=total, length=length))


TABLES = """
tables:
  both: &both
    title: Both
    source: Made up
    input_size: [8, 8]
    columns:
      params: {title: Params, unit: M}
      top1: {title: Top-1, unit: "%"}
      miou: {title: mIoU, unit: "%"}
      miou_ms: {title: "mIoU, multi-scale", unit: "%"}
    rows:
      - {name: Peer, missing: nobody has it, published: {top1: 70, miou: 40}}
      - &segmentor
        name: Segmentor
        published: {miou: 50.5}
        runs:
          - config: seg.py
            needs: cls.py
            metrics: {miou: {key: mIoU}}
            tests:
              - name: tta
                arguments: [--tta, --cfg-options, "a='b c'"]
                metrics: {miou_ms: {key: mIoU, scale: 100}}
      - name: Classifier
        published: {top1: 80}
        runs: [{config: cls.py, metrics: {top1: {key: accuracy/top1}}}]
  dense:
    <<: *both
    title: Dense
    rows: [*segmentor]
"""


def write_tables(root: Path) -> Path:
    """Write tables with a classifier, a segmentor that starts from it, and a peer."""
    write_config(root / "cls.py", "max_epochs=4, val_interval=2")
    write_config(
        root / "seg.py", 'type="IterBasedTrainLoop", max_iters=20', released="released.pth"
    )
    path = root / "tables.yml"
    path.write_text(TABLES)
    return path


def write_start(
    work_dir: Path, config: Path, records: list[dict[str, Any]], time: str = "20260101_000000"
) -> Path:
    """Write what a start of a run logs, with what its config trains."""
    start = work_dir / time
    (start / "vis_data").mkdir(parents=True)
    lines = [json.dumps(record) + "\n" for record in records]
    (start / "vis_data" / "scalars.json").write_text("".join(lines))
    content = config_content(Config.fromfile(config).to_dict())
    (start / "config.json").write_text(json.dumps(content))
    return start


def train_records(first: int, last: int, step: int = 1, per_epoch: int | None = None) -> list[dict]:
    """Training records whose loss is the iteration divided by 100."""
    records = [
        {"lr": 0.1, "loss": iteration / 100, "iter": iteration, "step": iteration}
        for iteration in range(first, last + 1, step)
    ]
    for record in records if per_epoch else ():
        record["epoch"] = (record["iter"] - 1) // per_epoch + 1
    return records


def write_checkpoint(path: Path) -> None:
    """Write a small checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)


def write_metrics(path: Path, checkpoint: str, **metrics: float) -> None:
    """Write the metrics.json of a test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"config": "seg.py", "checkpoint": checkpoint, "metrics": metrics}
    path.write_text(json.dumps(content))
