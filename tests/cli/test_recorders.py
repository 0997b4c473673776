"""What ``--log`` adds: read back by the programs that it names, where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.visualization import Visualizer

from mmscalablevit.cli.options import add_recorders

LOSSES = [2.5, 1.25]


def types(cfg: Config) -> list[str]:
    return [recorder["type"] for recorder in cfg.visualizer.vis_backends]


def record(tmp_path: Path, name: str) -> None:
    """Let MMEngine record two losses as a training with ``--log`` does."""
    cfg = Config({})
    add_recorders(cfg, [name])
    visualizer = Visualizer(
        name=f"{tmp_path}-{name}", vis_backends=cfg.visualizer.vis_backends, save_dir=str(tmp_path)
    )
    visualizer.add_config(Config({"work_dir": str(tmp_path)}))
    for step, loss in enumerate(LOSSES):
        visualizer.add_scalar("loss", loss, step)
    visualizer.close()


def test_recorders_join_those_of_the_config_once() -> None:
    own = {"type": "mmengine.TensorboardVisBackend", "save_dir": "elsewhere"}
    cfg = Config({"visualizer": {"type": "UniversalVisualizer", "vis_backends": [own]}})
    add_recorders(cfg, ["tensorboard", "wandb", "wandb"])
    assert types(cfg) == [own["type"], "WandbVisBackend"]
    assert cfg.visualizer.type == "UniversalVisualizer"
    assert cfg.visualizer.vis_backends[0].save_dir == "elsewhere"


def test_the_local_figures_stay_where_a_config_names_no_recorder() -> None:
    cfg = Config({})
    add_recorders(cfg, [])
    assert "visualizer" not in cfg
    add_recorders(cfg, ["tensorboard"])
    assert types(cfg) == ["LocalVisBackend", "TensorboardVisBackend"]


def test_mlflow_writes_where_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for store in ("sqlite:///mlflow.db", "http://localhost:5000"):
        if store.startswith("http"):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        else:
            monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        cfg = Config({})
        add_recorders(cfg, ["mlflow"])
        assert cfg.visualizer.vis_backends[-1].tracking_uri == store


def test_tensorboard_reads_the_losses(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "vis_data"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == LOSSES


def test_mlflow_reads_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path / 'own.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)
    record(tmp_path, "mlflow")
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs(["0"])
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.value for metric in history) == sorted(LOSSES)


def test_wandb_writes_a_run_that_can_be_uploaded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    record(tmp_path, "wandb")
    (run,) = tmp_path.glob("vis_data/wandb/offline-run-*/*.wandb")
    assert run.stat().st_size
