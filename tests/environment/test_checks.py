"""Each known failure is recognised, with the command that mends it, and nothing else is reported.

`WORKING` holds what an environment with the verified stack gives; every test changes one fact.
"""

from dataclasses import replace

from mmscalablevit.environment import Environment, Probe, check
from mmscalablevit.environment.facts import release
from mmscalablevit.errors import Finding

PINS = {
    name: f"{name}=={version}"
    for name, version in {
        **{"torch": "2.13.0", "torchvision": "0.28.0", "mmengine": "0.11.0rc3", "mmcv": "2.1.0"},
        **{"mmdet": "3.3.0", "mmsegmentation": "1.2.2", "mmpretrain": "1.2.0"},
        **{"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6"},
    }.items()
}
COMMON = {"torch": "2.13.0", "torchvision": "0.28.0", "setuptools": "81.0.0"}
COMMON |= {"ftfy": "6.3.1", "regex": "2026.9.29"}
UPSTREAM = {"mmengine": "0.11.0rc3", "mmcv": "2.1.0", "mmdet": "3.3.0"}
UPSTREAM |= {"mmsegmentation": "1.2.2", "mmpretrain": "1.2.0"}
ONEDL = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1"}
ONEDL |= {"onedl-mmsegmentation": "1.4.2", "onedl-mmpretrain": "1.3.6"}
PROBES = dict.fromkeys(("torchvision", "mmengine", "mmdet", "mmseg", "mmpretrain"), Probe())
PROBES |= {"torch": Probe({"cuda": "13.0", "usable": False}), "mmcv": Probe({"cuda": ""})}
WORKING = Environment((3, 11), {**COMMON, **UPSTREAM}, pins=PINS, probes=PROBES)
FORKS = replace(WORKING, versions={**COMMON, **ONEDL})
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


def test_a_verified_stack_has_no_problem():
    for env in (WORKING, FORKS):
        assert problems(env) == []
        names = {finding.name for finding in check(env)}
        assert {"torch", "CUDA", "mmengine", "mmcv ops", "mmseg", "stack"} <= names


NO_OPS = "ModuleNotFoundError: No module named 'mmcv._ext'"
GPU_TORCH = Probe({"cuda": "13.0", "usable": True})
CPU_TORCH = Probe({"cuda": "", "usable": False})
NO_NMS = Probe(error="RuntimeError: operator torchvision::nms does not exist")
WITHOUT_TORCH = replace(
    changed(without=("torch",)), probes={k: v for k, v in PROBES.items() if k != "torch"}
)
PAIR = "pip install --force-reinstall torch===2.13.0 'torchvision==0.28.*'"
OLD = {"mmengine": "0.10.7", "setuptools": "82.0.1", "torch": "2.5.1", "torchvision": "0.20.1"}

# One fact that is wrong: the check that tells it, its status, words of it, and its remedy.
# fmt: off
CASES = [
    (changed(python=(3, 9)), "Python", "fail", "3.9: 3.10 to 3.13", "make env"),
    (changed(python=(3, 14)), "Python", "fail", "3.14", "PYTHON=python3.12"),
    (WITHOUT_TORCH,
     "torch", "fail", "not installed", "pip install torch===2.13.0 torchvision==0.28.0"),
    (changed(versions={"torch": "2.3.1", "torchvision": "0.18.1"}),
     "torch", "fail", "2.3.1: 2.4 or newer is needed", "torch===2.13.0"),
    (changed(probes={"torch": Probe(error="crashed with signal 11")}),
     "torch", "fail", "2.13.0 cannot be imported: crashed with signal 11",
     "--force-reinstall torch===2.13.0"),
    (changed(versions={"torchvision": "0.27.1"}),
     "torchvision", "fail", "torch: 2.13.0 needs 0.28", PAIR),
    # === and the bare release: == would be satisfied by the +cpu build that is the culprit
    (changed(versions={"torch": "2.13.0+cpu"}, probes={"torchvision": NO_NMS}),
     "torchvision", "fail", "0.28.0 is built for another torch than 2.13.0+cpu", PAIR),
    (changed(without=("torchvision",)),
     "torchvision", "fail", "mmpretrain needs it", "pip install 'torchvision==0.28.*'"),
    (changed(gpus=("H200",), probes={"torch": CPU_TORCH}),
     "CUDA", "warn", "1 x H200, but torch is built without CUDA", "--force-reinstall torch"),
    (changed(gpus=("H200", "H200")),
     "CUDA", "warn", "2 x H200, but torch is built for CUDA 13.0", "ubuntu-drivers install"),
    (changed(gpus=("H200",), probes={"torch": GPU_TORCH}),
     "mmcv ops", "warn", "detection cannot use the GPU", REBUILD_CUDA),
    (changed(gpus=("H200",), probes={"torch": GPU_TORCH, "mmcv": Probe({"cuda": "12.4"})}),
     "mmcv ops", "fail", "compiled with CUDA 12.4, torch with CUDA 13.0", REBUILD_CUDA),
    (changed(versions=OLD, has_pkg_resources=False),
     "setuptools", "fail", "mmengine 0.10.7 imports pkg_resources", "pip install 'setuptools<82'"),
    (changed(versions={"mmengine": "0.10.7"}),
     "mmengine", "warn", "0.10.7 cannot load its own checkpoints with torch >= 2.6",
     "pip install mmengine==0.11.0rc3"),
    (changed(versions={"mmengine-lite": "0.10.7"}, without=("mmengine",)),
     "mmengine", "warn", "0.10.7 (mmengine-lite) cannot load its own checkpoints",
     "pip install mmengine==0.11.0rc3"),
    (changed(versions={"mmengine": "0.10.5"}),
     "mmengine", "fail", "0.10.5: 0.10.7 or newer is needed", "mmengine==0.11.0rc3"),
    (changed(without=("mmengine",)),
     "mmengine", "fail", "not installed", "pip install mmengine==0.11.0rc3"),
    (changed(FORKS, without=("onedl-mmengine",)),
     "mmengine", "fail", "not installed", "pip install onedl-mmengine==0.10.12"),
    (changed(without=("mmcv",), probes={"mmcv": Probe()}), "mmcv", "fail", "not installed", BUILD),
    (changed(probes={"mmcv": Probe(error=NO_OPS)}),
     "mmcv ops", "warn", "backbone and classification work", REBUILD),
    (changed(probes={"mmcv": Probe(error="_ext.so: undefined symbol: _ZN3c106detail")}),
     "mmcv ops", "fail", "undefined symbol", REBUILD),
    (changed(versions={"mmcv-lite": "2.1.0"}),
     "mmcv", "fail", "both installed", REBUILD.replace("mmcv &&", "mmcv mmcv-lite &&")),
    (changed(versions={"mmcv": "1.7.2"}), "mmcv", "fail", "1.7.2: 2.0 or newer is needed", REBUILD),
    (changed(without=("mmdet",)),
     "mmdet", "warn", "not installed: no detection configs", "pip install mmdet==3.3.0"),
    (changed(without=("mmsegmentation",)),
     "mmseg", "warn", "no segmentation configs", "pip install mmsegmentation==1.2.2"),
    (changed(without=("mmpretrain",)),
     "mmpretrain", "warn", "no classification configs", "pip install mmpretrain==1.2.0"),
    (changed(without=("ftfy", "regex"), probes={"mmseg": Probe(error="No module named 'ftfy'")}),
     "mmseg", "fail", "imports ftfy and regex: not installed", "pip install ftfy regex"),
    (changed(probes={"mmpretrain": Probe(error="cannot import name 'x' from 'y'")}),
     "mmpretrain", "fail", "1.2.0 cannot be imported: cannot import name 'x'",
     "pip install --force-reinstall mmpretrain==1.2.0"),
    (changed(versions={"onedl-mmpretrain": "1.3.6"}, without=("mmpretrain",)),
     "stack", "fail", "onedl forks (onedl-mmpretrain)", "pip uninstall -y onedl-mmpretrain"),
]
# fmt: on


def test_one_wrong_fact_is_one_problem_with_its_remedy():
    for env, name, status, words, remedy in CASES:
        (finding,) = problems(env)
        assert (finding.name, finding.status) == (name, status)
        assert words in finding.found and remedy in finding.remedy, finding


def test_torchvision_missing_where_nothing_needs_it():
    (torchvision, mmpretrain) = problems(changed(without=("torchvision", "mmpretrain")))
    assert (torchvision.name, torchvision.status) == ("torchvision", "warn")
    assert mmpretrain.name == "mmpretrain"


def test_facts_that_are_no_problem():
    hidden = changed(gpus=("H200",), visible_devices="")
    assert problems(hidden) == []
    (cuda,) = [finding for finding in check(hidden) if finding.name == "CUDA"]
    assert "hidden by CUDA_VISIBLE_DEVICES" in cuda.found
    ops = {"torch": GPU_TORCH, "mmcv": Probe({"cuda": "13.0"})}
    assert problems(changed(gpus=("H200",), probes=ops)) == []
    assert problems(changed(has_pkg_resources=False, versions={"setuptools": "82.0.1"})) == []


def test_mmcv_lite_leaves_classification():
    env = changed(
        versions={"mmcv-lite": "2.1.0"}, without=("mmcv",), probes={"mmdet": Probe(error=NO_OPS)}
    )
    ops, mmdet = problems(env)
    assert (ops.name, ops.status) == ("mmcv ops", "warn")
    assert (mmdet.name, mmdet.status) == ("mmdet", "warn")
    assert ops.remedy == mmdet.remedy == REBUILD.replace("mmcv &&", "mmcv-lite &&")


def test_mmcv_2_2_is_refused_by_upstream_only():
    refusal = Probe(error="AssertionError: MMCV==2.2.0 is used but incompatible.")
    probes = {"mmdet": refusal, "mmseg": refusal}
    mmcv, mmdet, mmseg = problems(changed(versions={"mmcv": "2.2.0"}, probes=probes))
    assert (mmcv.name, mmcv.status) == ("mmcv", "fail")
    assert "mmdet and mmsegmentation refuse mmcv >= 2.2" in mmcv.found
    assert {mmcv.remedy, mmdet.remedy, mmseg.remedy} == {REBUILD}, "one command mends all"
    alone = changed(versions={"mmcv": "2.2.0"}, without=("mmdet", "mmsegmentation"))
    assert [finding.name for finding in problems(alone)] == ["mmdet", "mmseg"]


def test_a_framework_that_fails_with_what_it_imports_has_that_remedy():
    broken = {"torchvision": NO_NMS, "mmdet": NO_NMS, "mmpretrain": NO_NMS}
    found = problems(changed(probes=broken))
    assert [finding.name for finding in found] == ["torchvision", "mmpretrain", "mmdet"]
    assert {finding.remedy for finding in found} == {PAIR}
    missing = Probe(error="ModuleNotFoundError: No module named 'torch'")
    env = replace(WITHOUT_TORCH, probes=dict.fromkeys(("torchvision", "mmdet"), missing))
    assert {(finding.name, finding.remedy) for finding in problems(env)} == {
        (name, "pip install torch===2.13.0 torchvision==0.28.0") for name in ("torch", "mmdet")
    }


def test_mixed_stacks():
    env = changed(versions={"onedl-mmcv": "2.3.6", "onedl-mmpretrain": "1.3.6"}, without=("mmdet",))
    (finding,) = [finding for finding in problems(env) if finding.name == "stack"]
    assert finding.status == "fail"
    assert "onedl forks (onedl-mmcv, onedl-mmpretrain)" in finding.found
    uninstall, reinstall = finding.remedy.split(" && ")
    assert uninstall == "pip uninstall -y onedl-mmcv onedl-mmpretrain"
    # the files that both had are gone with the forks, and only those
    assert reinstall.endswith(" mmcv==2.1.0 mmpretrain==1.2.0")
    assert reinstall.startswith("pip install --force-reinstall --no-deps")
    # where the forks prevail
    (finding,) = [f for f in problems(changed(FORKS, {"mmcv": "2.1.0"})) if f.name == "stack"]
    assert finding.remedy.startswith("pip uninstall -y mmcv && ")
    assert finding.remedy.endswith(" onedl-mmcv==2.3.6")


def test_a_versions_numbers_are_those_of_the_release():
    for version, expected in {
        "2.13.0+cpu": (2, 13, 0),
        "0.11.0rc3": (0, 11, 0),
        "2.3.2.post2": (2, 3, 2),
        "2.14.0a0+git1": (2, 14, 0),
        "unknown": (),
    }.items():
        assert release(version) == expected, version
