"""Several processes, also on machines without a GPU.

The process group is started before the Runner, which leaves a running group alone: what a training
starts from is agreed upon first. MMEngine's own start of a group needs a GPU, and it hands DDP a
GPU's number. Where there is none, the group is gloo's.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, init_dist, is_main_process
from mmengine.utils.dl_utils import set_multi_processing

from mmscalablevit.errors import UsageError

Decision = TypeVar("Decision")

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")

# Where each launcher writes a process's rank, the number of processes, and its rank on the machine.
_VARIABLES = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}

_DEFAULT_PORT = 29500


def launcher_environment(launcher: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Translate the environment that ``pytorch``, ``slurm`` or ``mpi`` makes into torch's.

    Returns:
        ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``.

    Raises:
        UsageError: The process was not started by this launcher, or does not know which machine
            leads.
    """
    names = _VARIABLES[launcher]
    missing = [name for name in names if name not in environ]
    if missing:
        starters = {"pytorch": "tools/dist_*.sh or torchrun", "slurm": "srun", "mpi": "mpirun"}
        raise UsageError(
            f"--launcher {launcher}: {', '.join(missing)} not set; start this through "
            f"{starters[launcher]}, or leave --launcher away"
        )
    rank, world_size, local_rank = (environ[name] for name in names)
    return {
        "RANK": rank,
        "WORLD_SIZE": world_size,
        "LOCAL_RANK": local_rank,
        "MASTER_ADDR": environ.get("MASTER_ADDR") or _leader(launcher, environ),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(_port(environ)),
    }


def _leader(launcher: str, environ: Mapping[str, str]) -> str:
    """Find the machine whose process leads the group."""
    if launcher == "slurm":
        if environ.get("SLURM_NNODES", environ.get("SLURM_JOB_NUM_NODES")) == "1":
            return "127.0.0.1"
        if shutil.which("scontrol"):
            command = ["scontrol", "show", "hostnames", environ.get("SLURM_NODELIST", "")]
            listed = subprocess.run(command, capture_output=True, text=True, check=False)
            if listed.returncode == 0 and listed.stdout.strip():
                return listed.stdout.split()[0]
    elif environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ.get("OMPI_COMM_WORLD_SIZE"):
        return "127.0.0.1"
    raise UsageError(
        f"--launcher {launcher}: set MASTER_ADDR to the name of the machine of the first process"
    )


def _port(environ: Mapping[str, str]) -> int:
    """Choose a port that all processes of a job agree on, and that two jobs seldom share."""
    job = environ.get("SLURM_JOB_ID", "")
    return 20000 + int(job) % 20000 if job.isdigit() else _DEFAULT_PORT


def set_up(cfg: Config, launcher: str) -> None:
    """Prepare this process and a config, in place, for a launcher; join the process group.

    Raises:
        UsageError: The launcher's environment is not there, or a process has no GPU for itself.
    """
    cfg.launcher = launcher
    if launcher == "none":
        return
    environment = launcher_environment(launcher, os.environ)
    os.environ.update(environment)
    if torch.cuda.is_available():
        local_rank, gpus = int(environment["LOCAL_RANK"]), torch.cuda.device_count()
        if local_rank >= gpus:
            raise UsageError(
                f"more processes than GPUs: process {local_rank + 1} of this machine finds only "
                f"{gpus} GPU(s); ask for {gpus}, or look at CUDA_VISIBLE_DEVICES"
            )
        # As MMEngine's Runner.setup_env does it.
        settings: Mapping[str, Any] = cfg.get("env_cfg") or {}
        set_multi_processing(**settings.get("mp_cfg", {}), distributed=True)
        if not dist.is_initialized():
            init_dist(launcher, **settings.get("dist_cfg", {}))
        return
    wrapper = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }
    cfg.model_wrapper_cfg = {**wrapper, **cfg.get("model_wrapper_cfg", {}), "device_ids": None}
    cfg.pop("sync_bn", None)  # it asks for layers that run on GPUs only
    if not dist.is_initialized():
        dist.init_process_group("gloo")


def any_process(answer: bool) -> bool:
    """Return whether the answer is yes in any process; to be called in all of them."""
    return any(all_gather_object(answer))


def decide_for_all(decide: Callable[[], Decision]) -> Decision:
    """Return what a call returns, or raise what it raises, in the first process; to all of them.

    Machines that share a disk can see different files for some seconds.

    Raises:
        UsageError: It is raised there.
    """
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = decide()
        except UsageError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def tear_down() -> None:
    """Leave the process group, if there is one, and end its threads.

    To be called when no model of the group is in use any more.
    """
    if dist.is_initialized():
        group = dist.group.WORLD
        dist.destroy_process_group()
        # DDP's wrapper lies in a cycle of references and holds the group. While that lives, so do
        # gloo's threads, and one that frees a tensor after Python has ended aborts the process.
        gc.collect()
        # The group ends with this reference and no other. PyTorch waits for gloo's threads then,
        # and only for this one lets them have Python's lock meanwhile, to free their tensors.
        del group
