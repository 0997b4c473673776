"""Time and memory of several models, measured side by side.

Each model lives in a process of its own, so that none has another's memory, caches or compiled
code. They take turns, one runs while the others wait: what else slows the machine down for a
while falls upon all, and the ratios of the same round are free of it.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.logging import MMLogger
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from mmscalablevit.benchmark.workloads import Workload
from mmscalablevit.cli import provenance
from mmscalablevit.errors import FAILURES, UsageError, first_line


class Work(Protocol):
    """What is repeated and timed."""

    macs: int

    def step(self) -> None:
        """Do it once."""

    def held_bytes(self) -> int:
        """Memory that stays between two steps."""


@dataclass(frozen=True)
class Measurement:
    """What was measured of one workload."""

    seconds: list[float]  # time of a step, one value a round
    peak_bytes: int | None  # most memory in use during a step, where the system tells
    macs: int  # multiply-accumulates of the forward pass of a batch
    operators: Mapping[str, float] = field(
        default_factory=dict
    )  # own seconds in a step, if profiled

    @property
    def median(self) -> float:
        """Median time of a step, in seconds."""
        return statistics.median(self.seconds)

    @property
    def macs_per_second(self) -> float:
        """Rate of the forward pass's multiply-accumulates."""
        return self.macs / self.median


# What is measured, and a product of matrices of each of its data types, under the type's name.
Measurements = Mapping[Workload | str, Measurement]


def time_steps(work: Work, device: torch.device, min_seconds: float) -> float:
    """Repeat a step for at least some time; return the mean time of one.

    An untimed step goes before, unless steps are so long that what is in the caches at their
    beginning does not matter.
    """
    start = time.perf_counter()
    work.step()
    _synchronize(device)
    first = time.perf_counter() - start
    if first >= min_seconds:
        return first
    steps, start, elapsed = 0, time.perf_counter(), 0.0
    while elapsed < min_seconds:
        # several at once, or a GPU would be waited for after each
        count = max(1, int((min_seconds - elapsed) / first))
        for _ in range(count):
            work.step()
        _synchronize(device)
        steps += count
        elapsed = time.perf_counter() - start
    return elapsed / steps


def measure_peak(work: Work, device: torch.device) -> int | None:
    """Most memory in use during a step: weights, gradients and optimizer state included.

    On a GPU PyTorch's allocator tells. On the CPU it is what stays between the steps, plus the
    growth of the process's resident memory during one, which Linux tells.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work.step()
        _synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # not glibc
        return None
    gc.collect()
    trim(0)  # freed memory that the process still holds would hide what a step takes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
        before = _resident("VmRSS")
        work.step()
        return work.held_bytes() + _resident("VmHWM") - before
    except OSError:
        return None


def profile_operators(work: Work, device: torch.device, steps: int = 5) -> dict[str, float]:
    """Own time of each operator in a step, in seconds, without that of operators it calls.

    On a GPU it is that of the kernels. Profiled steps are slower than others: compare the parts.
    """
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            work.step()
        _synchronize(device)
    wanted = DeviceType.CUDA if gpu else DeviceType.CPU
    return {
        event.key: (event.self_device_time_total if gpu else event.self_cpu_time_total)
        / (1e6 * steps)
        for event in profiler.key_averages()
        if event.device_type == wanted
    }


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def serve(
    connection: Connection, workload: Workload | str, device_name: str, threads: int | None
) -> None:
    """Run a workload in this process, as the other side of the connection asks.

    That gets the multiply-accumulates, the peak memory and the time of a step once the work is
    warm, then what each function that it sends returns for the work and the device. What goes wrong
    it gets as an error: a model can refuse a size or a type, which is the user's to change.
    """
    # Only here: a process that measures nothing need not import the frameworks.
    from mmscalablevit.benchmark.steps import build_work

    # the frameworks list every weight that they initialise
    MMLogger.get_instance("benchmark", log_level="ERROR")
    # and the profiler tells that there is no GPU, as an error
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device(device_name)
    try:
        work: Work = build_work(workload, device)
        for _ in range(2):  # the first compiles, the second still finds things to set up
            work.step()
        connection.send((work.macs, measure_peak(work, device), time_steps(work, device, 0.0)))
        while True:
            task = connection.recv()
            connection.send(task(work, device))
    except EOFError:  # nobody asks any more
        pass
    except torch.OutOfMemoryError:
        message = f"{_name(workload)}: out of memory; take a smaller batch or size"
        connection.send(UsageError(message))
    except UsageError as error:
        connection.send(error)
    except FAILURES as error:
        connection.send(UsageError(f"{_name(workload)} cannot be run: {first_line(error)}"))


def _name(workload: Workload | str) -> str:
    return f"{workload} matmul" if isinstance(workload, str) else workload.text


class _Worker:
    """The process of one workload, seen from the process that measures."""

    def __init__(self, workload: Workload | str, device: str, threads: int | None) -> None:
        self.workload, self.name = workload, _name(workload)
        self.seconds: list[float] = []
        self.operators: dict[str, float] = {}
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection, self._other = context.Pipe()
        arguments = (self._other, workload, device, threads)
        self.process = context.Process(target=serve, args=arguments)

    def start(self) -> None:
        """Start the process."""
        self.process.start()
        self._other.close()  # so that the process's end is noticed

    def wait(self, deadline: float) -> None:
        """Wait until its work is warm, or until a time of :func:`time.monotonic`."""
        left = deadline - time.monotonic()
        if left < math.inf and not self.connection.poll(max(left, 0)):
            raise UsageError(f"{self.name} takes too long to prepare")
        self.macs, self.peak, self.first = self._receive()

    def ask(self, task: Callable[..., Any]) -> Any:
        """Have the process call a function with its work and its device."""
        self.connection.send(task)
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            why = "was killed, probably for want of memory" if code == -9 else f"ended with {code}"
            message = f"{self.name}: its process {why}; its last words are above"
            answer = UsageError(message)
        if isinstance(answer, UsageError):
            raise answer
        return answer

    def end(self) -> None:
        """End the process, if it has been started."""
        if self.process.pid is not None:
            self.process.terminate()
            self.process.join()


def measure(
    workloads: Sequence[Workload],
    device: str,
    rounds: int = 7,
    min_seconds: float = 1.0,
    threads: int | None = None,
    profiled: bool = False,
    patience: float = math.inf,
    report: Callable[[str], None] = lambda message: None,
) -> Measurements:
    """Measure workloads in rounds, each workload once a round.

    Args:
        workloads: What to measure.
        device: Where, as PyTorch names it.
        rounds: How often each has its turn.
        min_seconds: Least time of a turn.
        threads: Of PyTorch on the CPU; its default if None.
        profiled: Whether to profile each workload after the rounds.
        patience: Seconds after which workloads that cannot be run, or are not ready, are left out;
            without end they are waited for, and one that cannot be run is an error.
        report: Called with progress.

    Returns:
        One measurement a workload, and one for each of their data types: that of a product of
        large square matrices in the same rounds.

    Raises:
        UsageError: A workload cannot be run.
    """
    dtypes = sorted({workload.dtype for workload in workloads})
    works: list[Workload | str] = [*workloads, *dtypes]
    workers = [_Worker(work, device, threads) for work in works]
    deadline = time.monotonic() + patience
    at_once = device != "cpu"  # there they compile on cores of their own, and keep their memory
    try:
        for worker in workers if at_once else []:
            worker.start()
        for worker in tuple(workers):
            report(f"preparing {worker.name}")
            if not at_once:
                worker.start()
            try:
                worker.wait(deadline)
            except UsageError as error:
                if patience == math.inf or isinstance(worker.workload, str):
                    raise
                report(f"left out: {error}")
                worker.end()
                workers.remove(worker)
        turn = sum(max(2 * worker.first, min_seconds) for worker in workers)
        report(f"{rounds} rounds of about {turn:.0f} s each")
        for index in range(rounds):
            # Each begins with another one: none always follows the same.
            for place in range(len(workers)):
                worker = workers[(index + place) % len(workers)]
                worker.seconds.append(worker.ask(partial(time_steps, min_seconds=min_seconds)))
            report(f"round {index + 1} of {rounds}")
        for worker in workers if profiled else []:
            report(f"profiling {worker.name}")
            worker.operators = worker.ask(profile_operators)
    finally:
        for worker in workers:
            worker.end()
    return {
        worker.workload: Measurement(worker.seconds, worker.peak, worker.macs, worker.operators)
        for worker in workers
    }


def describe_machine(device: str, threads: int | None) -> dict[str, Any]:
    """Processor or GPU, threads, load by others, and versions."""
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", path.read_text() if path.exists() else "")
    versions = provenance.versions()
    machine: dict[str, Any] = {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads or torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "python": versions.pop("python"),
        "versions": versions,
    }
    if device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(device)
        machine["cuda"] = torch.version.cuda
    return machine
