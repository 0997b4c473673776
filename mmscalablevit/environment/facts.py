"""The facts about an environment: versions, pins, GPUs, and what can be imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

MINIMUM = {"torch": (2, 4), "mmengine": (0, 10, 7), "mmcv": (2, 0)}

# The distributions that provide each import name: OpenMMLab's release, the onedl fork and the lite
# build. They write to the same directories.
PROVIDERS = {
    "mmengine": ("mmengine", "onedl-mmengine", "mmengine-lite"),
    "mmcv": ("mmcv", "onedl-mmcv", "mmcv-lite"),
    "mmdet": ("mmdet", "onedl-mmdetection"),
    "mmseg": ("mmsegmentation", "onedl-mmsegmentation"),
    "mmpretrain": ("mmpretrain", "onedl-mmpretrain"),
}
UPSTREAM = {module: names[0] for module, names in PROVIDERS.items()}
ONEDL = {module: names[1] for module, names in PROVIDERS.items()}
LITE = {module: names[2] for module, names in PROVIDERS.items() if len(names) > 2}
OTHERS = ("torch", "torchvision", "setuptools", "ftfy", "regex")
CONCERNING = (*itertools.chain(*PROVIDERS.values()), *OTHERS)

# Each probe runs in an interpreter of its own, which then prints its `values` as JSON.
PROBES = {
    "torch": """
import torch
values = dict(cuda=torch.version.cuda or '', usable=torch.cuda.is_available())
""",
    # torchvision's compiled operators are looked up on import
    "torchvision": "import torchvision",
    "mmengine": "from mmengine.runner import Runner",
    # running one operator, on the GPU too, shows more than that the library loads
    "mmcv": """
import torch
from mmcv.ops import get_compiling_cuda_version, nms
cuda = get_compiling_cuda_version()
values = dict(cuda=cuda if cuda[:1].isdigit() else '')
boxes, scores = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.9]]), torch.tensor([.9, .8])
for device in ['cpu', 'cuda'] if values['cuda'] and torch.cuda.is_available() else ['cpu']:
    _, kept = nms(boxes.to(device), scores.to(device), iou_threshold=0.5)
    assert kept.tolist() == [0], 'nms on %s keeps %s' % (device, kept.tolist())
""",
    "mmdet": "import mmdet.models",
    "mmseg": "import mmseg.models",
    "mmpretrain": "import mmpretrain.models",
}
PROBE_TIMEOUT = 180  # seconds; a cold file system makes the first import of torch slow


@dataclass(frozen=True)
class Probe:
    """What importing a module in a process of its own gave."""

    values: Mapping[str, str | bool] = field(default_factory=dict)
    error: str = ""  # the last line of the traceback or the signal, if it failed


@dataclass(frozen=True)
class Environment:
    """The facts that the checks judge."""

    python: tuple[int, int]
    versions: Mapping[str, str]  # of every installed distribution that concerns us
    has_pkg_resources: bool = True
    gpus: tuple[str, ...] = ()  # names of those that the driver shows
    visible_devices: str | None = None  # the variable CUDA_VISIBLE_DEVICES
    pins: Mapping[str, str] = field(default_factory=dict)  # verified, such as mmcv==2.1.0, by name
    probes: Mapping[str, Probe] = field(default_factory=dict)  # by module, those that were tried

    def providers(self, module: str) -> list[str]:
        """Return the installed distributions that provide an mm module."""
        return [name for name in distributions(module) if name in self.versions]

    def installed(self, stack: Mapping[str, str]) -> list[str]:
        """Return the installed distributions of one stack."""
        return [name for name in stack.values() if name in self.versions]

    def distribution(self, module: str) -> str:
        """Return the distribution to recommend for a module: that of the prevailing stack."""
        onedl = len(self.installed(ONEDL)) > len(self.installed(UPSTREAM))
        return (ONEDL if onedl else UPSTREAM)[module]

    def pin(self, name: str) -> str:
        """Return the verified requirement on a distribution, or its bare name if unknown."""
        return self.pins.get(name, name)

    def error(self, module: str) -> str:
        """Return why importing a module fails, or an empty string."""
        return self.probes[module].error if module in self.probes else ""


def distributions(module: str) -> tuple[str, ...]:
    """Return the distributions that provide a module, OpenMMLab's own first."""
    return PROVIDERS.get(module, (module,))


def release(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version: ``2.13.0+cpu`` → (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def collect() -> Environment:
    """Gather the facts about the running interpreter's environment."""
    env = Environment(
        python=sys.version_info[:2],
        versions=installed_versions(),
        has_pkg_resources=importlib.util.find_spec("pkg_resources") is not None,
        gpus=_visible_gpus(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        pins=verified_pins(),
    )
    wanted = [module for module in PROBES if env.providers(module)]
    if "mmcv-lite" in env.versions:
        wanted.remove("mmcv")
    with ThreadPoolExecutor(max_workers=4) as pool:
        probes = dict(zip(wanted, pool.map(run_probe, wanted), strict=True))
    return replace(env, probes=probes)


def installed_versions(names: Iterable[str] = CONCERNING) -> dict[str, str]:
    """Return the versions of those distributions that are installed, by name."""
    versions = {}
    for name in names:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if version:  # an interrupted uninstallation leaves metadata without one
            versions[name] = version
    return versions


def run_probe(name: str) -> Probe:
    """Try one of `PROBES` in an interpreter of its own."""
    code = f"import json\nvalues = {{}}\n{PROBES[name]}\nprint(json.dumps(values))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(error=f"takes more than {PROBE_TIMEOUT} s")
    if done.returncode < 0:
        return Probe(error=f"crashed with signal {-done.returncode}")
    if done.returncode > 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return Probe(error=lines[-1] if lines else f"exit status {done.returncode}")
    # other packages may print while they are imported; ours is the last line
    return Probe(values=json.loads(done.stdout.strip().splitlines()[-1]))


def _visible_gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(done.stdout.splitlines())


def verified_pins() -> dict[str, str]:
    """Return the verified requirements: those of our own distribution's extras."""
    try:
        requirements = importlib.metadata.requires("mmscalablevit") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    parts = [requirement.partition(";") for requirement in requirements]
    specs = [spec.replace(" ", "") for spec, _, marker in parts if "extra" in marker]
    return {re.split(r"[<>=!~]", spec, maxsplit=1)[0].lower(): spec for spec in specs}
