from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmscalablevit.checkpoints import CheckpointError
from mmscalablevit.cli import distributed
from mmscalablevit.cli.distributed import launcher_environment
from mmscalablevit.errors import UsageError
from tests.runner.toy_run import build_run

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}  # fmt: skip
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node7"}


def test_a_launchers_environment_is_translated():
    environ = {**TORCHRUN, "MASTER_PORT": "1234"}
    assert launcher_environment("pytorch", {**environ, "HOME": "/"}) == environ
    environ = {**SLURM, "SLURM_NNODES": "1", "SLURM_JOB_ID": "4512345"}
    assert launcher_environment("slurm", environ) == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + 4512345 % 20000),
    }  # fmt: skip
    one_machine = launcher_environment("mpi", {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"})
    assert one_machine["MASTER_ADDR"] == "127.0.0.1" and one_machine["RANK"] == "1"
    with pytest.raises(UsageError, match="set MASTER_ADDR"):
        launcher_environment("mpi", {**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})


def test_slurms_first_host_leads(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames gpu[3-4]" ] && printf "gpu3\\ngpu4\\n"'
    )
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    environ = {**SLURM, "SLURM_NNODES": "2", "SLURM_NODELIST": "gpu[3-4]"}
    assert launcher_environment("slurm", environ)["MASTER_ADDR"] == "gpu3"
    environ["MASTER_ADDR"] = "other"
    assert launcher_environment("slurm", environ)["MASTER_ADDR"] == "other"


def test_without_a_launcher_nothing_changes():
    cfg = Config({"sync_bn": "torch"})
    distributed.set_up(cfg, "none")
    assert cfg.to_dict() == {"sync_bn": "torch", "launcher": "none"}


def test_one_process_decides_for_itself():
    assert distributed.any_process(True) and not distributed.any_process(False)
    assert distributed.decide_for_all(lambda: "epoch_3.pth") == "epoch_3.pth"


def decide(rank: int, folder: str) -> None:
    """What the first of two processes sees or suffers is what both do."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/s", rank=rank, world_size=2)
    assert distributed.any_process(rank == 1) and not distributed.any_process(False)
    assert distributed.decide_for_all(lambda: rank) == 0

    def fail() -> None:
        raise CheckpointError(f"x.pth is empty, says process {rank}")

    with pytest.raises(CheckpointError, match="says process 0"):
        distributed.decide_for_all(fail)
    distributed.tear_down()


def test_several_processes_decide_alike(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=decide, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]


def test_batch_norm_is_not_synchronized_without_gpus(tmp_path, monkeypatch):
    run = build_run(tmp_path)
    monkeypatch.setattr(type(run), "distributed", True)
    monkeypatch.setattr(Runner, "wrap_model", lambda self, wrapper, model: model)
    said = []
    run.logger.warning = said.append
    norm = nn.SyncBatchNorm(3)
    norm.running_mean += 5
    plain = run.wrap_model(None, nn.Sequential(norm, nn.ReLU()))[0]
    assert plain(torch.rand(2, 3, 4, 4)).mean().abs() < 1e-5  # which SyncBN refuses on the CPU
    assert (plain.running_mean > 1).all()
    assert len(said) == 1 and "SyncBN runs on GPUs only" in said[0]
    run.wrap_model(None, nn.ReLU())
    assert len(said) == 1


@pytest.mark.slow
def test_no_thread_of_the_group_outlives_it():
    # A thread of gloo's that frees a tensor while Python ends aborts the process; DDP's cycle of
    # references keeps the threads alive unless it is broken.
    script = """
import os
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmscalablevit.cli import distributed

def threads():
    return len(os.listdir("/proc/self/task"))

torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
before = threads()
dist.init_process_group("gloo", init_method=f"file://{os.environ['STORE']}", rank=0, world_size=1)
model = MMDistributedDataParallel(torch.nn.Linear(2, 2))
model.itself = model
model(torch.ones(1, 2)).sum().backward()
assert threads() > before
del model
distributed.tear_down()
assert threads() == before, (before, threads())
"""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "STORE": f"{folder}/store"}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.slow
def test_the_group_ends_while_its_threads_still_free_tensors(tmp_path):
    # They need Python's lock for that; the one who waits for their end must not hold it.
    script = """
import faulthandler
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from mmscalablevit.cli import distributed

faulthandler.dump_traceback_later(120, exit=True)
sys.setswitchinterval(1000)  # the lock is handed over where it must be, and nowhere else
rank, folder = int(sys.argv[1]), sys.argv[2]
for i in range(10):
    store = dist.FileStore(f"{folder}/{i}", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = DistributedDataParallel(torch.nn.Linear(4, 4))
    model(torch.ones(2, 4)).sum().backward()
    for _ in range(4):
        dist.broadcast(torch.ones(10**6), 0, async_op=True)
    cycle = [model]
    cycle.append(cycle)
    del model, cycle
    distributed.tear_down()
"""
    command = [sys.executable, "-c", script]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in (0, 1)]
    assert [process.wait() for process in processes] == [0, 0]
