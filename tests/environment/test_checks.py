"""Each known failure is recognised, with the command that mends it, and nothing else is reported.

`WORKING` holds what an environment with the verified stack gives; every test changes one fact.
"""

from dataclasses import replace

import pytest

from mmscalablevit.environment import Environment, Probe, check
from mmscalablevit.environment.facts import LITE, ONEDL, UPSTREAM, release
from mmscalablevit.errors import Finding

PINS = {
    "torch": "torch==2.13.0",
    "torchvision": "torchvision==0.28.0",
    "mmengine": "mmengine==0.11.0rc3",
    "mmcv": "mmcv==2.1.0",
    "mmdet": "mmdet==3.3.0",
    "mmsegmentation": "mmsegmentation==1.2.2",
    "mmpretrain": "mmpretrain==1.2.0",
    "onedl-mmengine": "onedl-mmengine==0.10.12",
    "onedl-mmcv": "onedl-mmcv==2.3.6",
}
COMMON = {
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "setuptools": "81.0.0",
    "ftfy": "6.3.1",
    "regex": "2026.9.29",
}
PROBES = {
    "torch": Probe({"cuda": "13.0", "usable": False}),
    "torchvision": Probe(),
    "mmengine": Probe(),
    "mmcv": Probe({"cuda": ""}),
    "mmdet": Probe(),
    "mmseg": Probe(),
    "mmpretrain": Probe(),
}
WORKING = Environment(
    python=(3, 11),
    versions={
        **COMMON,
        "mmengine": "0.11.0rc3",
        "mmcv": "2.1.0",
        "mmdet": "3.3.0",
        "mmsegmentation": "1.2.2",
        "mmpretrain": "1.2.0",
    },
    pins=PINS,
    probes=PROBES,
)
FORKS = replace(
    WORKING,
    versions={
        **COMMON,
        "onedl-mmengine": "0.10.12",
        "onedl-mmcv": "2.3.6",
        "onedl-mmdetection": "3.5.1",
        "onedl-mmsegmentation": "1.4.2",
        "onedl-mmpretrain": "1.3.6",
    },
)
BUILD = "pip install 'setuptools<82' wheel ninja psutil && MMCV_WITH_OPS=1 pip install"
BUILD += " --no-build-isolation --no-cache-dir mmcv==2.1.0"
REBUILD = f"pip uninstall -y mmcv && {BUILD}"
REBUILD_CUDA = REBUILD.replace("MMCV_WITH_OPS", "FORCE_CUDA=1 MMCV_WITH_OPS")


def changed(
    env: Environment = WORKING,
    versions: dict[str, str] | None = None,
    without: tuple[str, ...] = (),
    probes: dict[str, Probe] | None = None,
    **facts: object,
) -> Environment:
    """Return an environment with other facts."""
    kept = {name: version for name, version in env.versions.items() if name not in without}
    return replace(
        env,
        versions={**kept, **(versions or {})},
        probes={**env.probes, **(probes or {})},
        **facts,
    )


def problems(env: Environment) -> list[Finding]:
    return [finding for finding in check(env) if finding.status != "ok"]


def only_problem(env: Environment) -> Finding:
    found = problems(env)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("env", [WORKING, FORKS], ids=["upstream", "onedl"])
def test_a_verified_stack_has_no_problem(env):
    assert problems(env) == []
    names = {finding.name for finding in check(env)}
    assert {"torch", "CUDA", "mmengine", "mmcv ops", "mmseg", "stack"} <= names


@pytest.mark.parametrize("python", [(3, 9), (3, 14)])
def test_python_outside_the_range_of_torch(python):
    finding = only_problem(changed(python=python))
    assert (finding.name, finding.status) == ("Python", "fail")
    assert "PYTHON=python3.12" in finding.remedy


def test_torch_missing():
    probes = {name: probe for name, probe in PROBES.items() if name != "torch"}
    env = replace(changed(without=("torch",)), probes=probes)
    finding = only_problem(env)
    assert (finding.name, finding.status, finding.found) == ("torch", "fail", "not installed")
    assert finding.remedy == "pip install torch===2.13.0 torchvision==0.28.0"


def test_torch_too_old():
    finding = only_problem(changed(versions={"torch": "2.3.1", "torchvision": "0.18.1"}))
    assert (finding.name, finding.status) == ("torch", "fail")
    assert "2.4 or newer" in finding.found


def test_torch_that_crashes():
    env = changed(probes={"torch": Probe(error="crashed with signal 11")})
    assert only_problem(env).found == "2.13.0 cannot be imported: crashed with signal 11"


def test_torchvision_made_for_another_torch():
    finding = only_problem(changed(versions={"torchvision": "0.27.1"}))
    assert (finding.name, finding.status) == ("torchvision", "fail")
    assert "torch: 2.13.0 needs 0.28" in finding.found
    assert finding.remedy == ("pip install --force-reinstall torch===2.13.0 'torchvision==0.28.*'")


def test_torchvision_built_for_another_kind_of_torch():
    error = "RuntimeError: operator torchvision::nms does not exist"
    env = changed(versions={"torch": "2.13.0+cpu"}, probes={"torchvision": Probe(error=error)})
    finding = only_problem(env)
    assert finding.status == "fail"
    assert finding.found.startswith("0.28.0 is built for another torch than 2.13.0+cpu")
    # === and the bare release: == would be satisfied by the +cpu build that is the culprit
    assert "torch===2.13.0 " in finding.remedy


def test_torchvision_missing():
    finding = only_problem(changed(without=("torchvision",)))
    assert (finding.name, finding.status) == ("torchvision", "fail")
    assert finding.remedy == "pip install 'torchvision==0.28.*'"
    frameworks = ("torchvision", "mmpretrain")
    statuses = {finding.name: finding.status for finding in check(changed(without=frameworks))}
    assert statuses["torchvision"] == "warn", "nothing that is installed needs it"


def test_gpu_with_a_torch_for_the_cpu():
    env = changed(gpus=("NVIDIA H200",), probes={"torch": Probe({"cuda": "", "usable": False})})
    finding = only_problem(env)
    assert (finding.name, finding.status) == ("CUDA", "warn")
    assert "built without CUDA" in finding.found


def test_gpu_whose_driver_is_too_old():
    finding = only_problem(changed(gpus=("NVIDIA H200", "NVIDIA H200")))
    assert (finding.name, finding.status) == ("CUDA", "warn")
    assert finding.found.startswith("2 x NVIDIA H200, but torch is built for CUDA 13.0")
    assert finding.remedy == "sudo ubuntu-drivers install"


def test_gpu_hidden_on_purpose():
    env = changed(gpus=("NVIDIA H200",), visible_devices="")
    assert problems(env) == []
    assert "hidden by CUDA_VISIBLE_DEVICES" in next(f for f in check(env) if f.name == "CUDA").found


def test_gpu_with_ops_for_the_cpu_only():
    torch = Probe({"cuda": "13.0", "usable": True})
    finding = only_problem(changed(gpus=("NVIDIA H200",), probes={"torch": torch}))
    assert (finding.name, finding.status) == ("mmcv ops", "warn")
    assert finding.remedy == REBUILD_CUDA
    ops = {"torch": torch, "mmcv": Probe({"cuda": "13.0"})}
    assert problems(changed(gpus=("NVIDIA H200",), probes=ops)) == []


def test_ops_compiled_with_another_cuda():
    probes = {
        "torch": Probe({"cuda": "13.0", "usable": True}),
        "mmcv": Probe({"cuda": "12.4"}),
    }
    finding = only_problem(changed(gpus=("NVIDIA H200",), probes=probes))
    assert (finding.name, finding.status) == ("mmcv ops", "fail")
    assert "compiled with CUDA 12.4, torch with CUDA 13.0" in finding.found


def test_pkg_resources_missing_for_mmengine_0_10():
    versions = {"mmengine": "0.10.7", "setuptools": "82.0.1", "torch": "2.5.1"}
    env = changed(versions={**versions, "torchvision": "0.20.1"}, has_pkg_resources=False)
    finding = only_problem(env)
    assert (finding.name, finding.status) == ("setuptools", "fail")
    assert "mmengine 0.10.7 imports pkg_resources" in finding.found
    assert finding.remedy == "pip install 'setuptools<82'"
    assert problems(changed(has_pkg_resources=False, versions={"setuptools": "82.0.1"})) == []


@pytest.mark.parametrize("name", ["mmengine", "mmengine-lite"])
def test_mmengine_0_10_with_torch_2_6(name):
    env = changed(versions={name: "0.10.7"}, without=("mmengine",))
    finding = only_problem(env)
    assert (finding.name, finding.status) == ("mmengine", "warn")
    assert "cannot load its own checkpoints with torch >= 2.6" in finding.found
    assert finding.remedy == "pip install mmengine==0.11.0rc3"


def test_mmengine_too_old_or_missing():
    finding = only_problem(changed(versions={"mmengine": "0.10.5"}))
    assert (finding.status, finding.found) == ("fail", "0.10.5: 0.10.7 or newer is needed")
    finding = only_problem(changed(without=("mmengine",)))
    assert (finding.name, finding.status, finding.found) == ("mmengine", "fail", "not installed")
    finding = only_problem(changed(FORKS, without=("onedl-mmengine",)))
    assert finding.remedy == "pip install onedl-mmengine==0.10.12"


def test_mmcv_missing():
    finding = only_problem(changed(without=("mmcv",), probes={"mmcv": PROBES["mmdet"]}))
    assert (finding.name, finding.status, finding.remedy) == ("mmcv", "fail", BUILD)


def test_mmcv_lite_leaves_classification():
    needs_ops = Probe(error="ModuleNotFoundError: No module named 'mmcv._ext'")
    env = changed(
        versions={"mmcv-lite": "2.1.0"},
        without=("mmcv",),
        probes={"mmdet": needs_ops},
    )
    ops, mmdet = problems(env)
    assert (ops.name, ops.status) == ("mmcv ops", "warn")
    assert "backbone and classification work" in ops.found
    assert (mmdet.name, mmdet.status) == ("mmdet", "warn")
    assert ops.remedy == mmdet.remedy == REBUILD.replace("mmcv &&", "mmcv-lite &&")


def test_mmcv_built_without_ops():
    error = "ModuleNotFoundError: No module named 'mmcv._ext'"
    finding = only_problem(changed(probes={"mmcv": Probe(error=error)}))
    assert (finding.name, finding.status, finding.remedy) == ("mmcv ops", "warn", REBUILD)


def test_ops_built_against_another_torch():
    error = "ImportError: _ext.so: undefined symbol: _ZN3c106detail"
    finding = only_problem(changed(probes={"mmcv": Probe(error=error)}))
    assert (finding.name, finding.status, finding.remedy) == ("mmcv ops", "fail", REBUILD)
    assert "undefined symbol" in finding.found


def test_mmcv_and_mmcv_lite_together():
    finding = only_problem(changed(versions={"mmcv-lite": "2.1.0"}))
    assert (finding.name, finding.status) == ("mmcv", "fail")
    assert finding.remedy == REBUILD.replace("mmcv &&", "mmcv mmcv-lite &&")


def test_mmcv_2_2_is_refused_by_upstream_only():
    refusal = Probe(error="AssertionError: MMCV==2.2.0 is used but incompatible.")
    probes = {"mmdet": refusal, "mmseg": refusal}
    mmcv, mmdet, mmseg = problems(changed(versions={"mmcv": "2.2.0"}, probes=probes))
    assert (mmcv.name, mmcv.status) == ("mmcv", "fail")
    assert "mmdet and mmsegmentation refuse mmcv >= 2.2" in mmcv.found
    assert {mmcv.remedy, mmdet.remedy, mmseg.remedy} == {REBUILD}, "one command mends all"
    alone = changed(versions={"mmcv": "2.2.0"}, without=("mmdet", "mmsegmentation"))
    assert [finding.name for finding in problems(alone)] == ["mmdet", "mmseg"]


def test_mmcv_1():
    finding = only_problem(changed(versions={"mmcv": "1.7.2"}))
    assert (finding.status, finding.found) == ("fail", "1.7.2: 2.0 or newer is needed")


@pytest.mark.parametrize(
    ("name", "module", "task"),
    [
        ("mmdet", "mmdet", "detection"),
        ("mmsegmentation", "mmseg", "segmentation"),
        ("mmpretrain", "mmpretrain", "classification"),
    ],
)
def test_framework_missing(name, module, task):
    finding = only_problem(changed(without=(name,)))
    assert (finding.name, finding.status) == (module, "warn")
    assert finding.found == f"not installed: no {task} configs"
    assert finding.remedy == f"pip install {PINS[name]}"


@pytest.mark.parametrize("lacking", [("ftfy",), ("ftfy", "regex")])
def test_modules_that_mmseg_imports_unlisted(lacking):
    error = Probe(error="ModuleNotFoundError: No module named 'ftfy'")
    finding = only_problem(changed(without=lacking, probes={"mmseg": error}))
    assert (finding.name, finding.status) == ("mmseg", "fail")
    assert finding.remedy == f"pip install {' '.join(lacking)}"


def test_framework_that_fails_for_another_reason():
    error = Probe(error="ImportError: cannot import name 'x' from 'y'")
    finding = only_problem(changed(probes={"mmpretrain": error}))
    assert (finding.name, finding.status) == ("mmpretrain", "fail")
    assert "cannot import name 'x'" in finding.found
    assert finding.remedy == "pip install --force-reinstall mmpretrain==1.2.0"


def test_framework_that_fails_with_what_it_imports():
    error = Probe(error="RuntimeError: operator torchvision::nms does not exist")
    broken = {"torchvision": error, "mmdet": error, "mmpretrain": error}
    found = problems(changed(probes=broken))
    assert [finding.name for finding in found] == ["torchvision", "mmpretrain", "mmdet"]
    assert len({finding.remedy for finding in found}) == 1
    assert "torchvision==0.28" in found[0].remedy


def test_mixed_stacks():
    env = changed(versions={"onedl-mmcv": "2.3.6", "onedl-mmpretrain": "1.3.6"}, without=("mmdet",))
    finding = next(f for f in problems(env) if f.name == "stack")
    assert finding.status == "fail"
    assert "onedl forks (onedl-mmcv, onedl-mmpretrain)" in finding.found
    uninstall, reinstall = finding.remedy.split(" && ")
    assert uninstall == "pip uninstall -y onedl-mmcv onedl-mmpretrain"
    # the files that both had are gone with the forks, and only those
    assert reinstall.endswith(" mmcv==2.1.0 mmpretrain==1.2.0")
    assert reinstall.startswith("pip install --force-reinstall --no-deps")


def test_mixed_stacks_where_the_forks_prevail():
    finding = next(f for f in problems(changed(FORKS, {"mmcv": "2.1.0"})) if f.name == "stack")
    assert finding.remedy.startswith("pip uninstall -y mmcv && ")
    assert finding.remedy.endswith(" onedl-mmcv==2.3.6")


def test_mixed_stacks_that_share_no_directory():
    env = changed(versions={"onedl-mmpretrain": "1.3.6"}, without=("mmpretrain",))
    assert only_problem(env).remedy == "pip uninstall -y onedl-mmpretrain"


def test_the_stacks_name_the_same_modules():
    assert set(UPSTREAM) == set(ONEDL) >= set(LITE)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.13.0+cpu", (2, 13, 0)),
        ("0.11.0rc3", (0, 11, 0)),
        ("2.3.2.post2", (2, 3, 2)),
        ("2.14.0a0+git1", (2, 14, 0)),
        ("unknown", ()),
    ],
)
def test_release(version, expected):
    assert release(version) == expected
