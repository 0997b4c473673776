"""The checks: each judges the facts about an environment and knows the command that mends it."""

from __future__ import annotations

import shlex
from typing import Literal

from mmscalablevit.environment.facts import (
    LITE,
    MINIMUM,
    ONEDL,
    PROVIDERS,
    UPSTREAM,
    Environment,
    Probe,
    distributions,
    release,
)
from mmscalablevit.errors import Finding


def _pip(*requirements: str, options: str = "") -> str:
    return " ".join(["pip install", *options.split(), *map(shlex.quote, requirements)])


def _reinstall_mmcv(env: Environment, cuda: bool = False) -> str:
    # pip's cache would hand out a wheel that was built against another torch
    name = env.distribution("mmcv")
    variables = "FORCE_CUDA=1 MMCV_WITH_OPS=1" if cuda else "MMCV_WITH_OPS=1"
    uninstall = ["pip uninstall -y", *env.providers("mmcv"), "&&"] if env.providers("mmcv") else []
    options = "--no-build-isolation --no-cache-dir"
    build = [_pip("setuptools<82", "wheel", "ninja", "psutil"), "&&", variables]
    return " ".join([*uninstall, *build, _pip(env.pin(name), options=options)])


def _install_torch(env: Environment, options: str = "") -> str:
    # === excludes local builds (2.13.0+cpu), for which that torchvision is not made
    torch = env.pin("torch").replace("==", "===")
    return _pip(torch, env.pin("torchvision"), options=options)


def _describe(env: Environment, module: str) -> str:
    """Return the installed version of a module, with its distribution if it is an unusual one."""
    usual, name = distributions(module)[0], env.providers(module)[0]
    return env.versions[name] if name == usual else f"{env.versions[name]} ({name})"


def missing_or_old(env: Environment, module: str) -> str:
    """Say what is wrong if a module is not installed or older than is needed; else nothing."""
    names, minimum = env.providers(module), MINIMUM[module]
    if not names:
        return "not installed"
    if release(env.versions[names[0]]) >= minimum:
        return ""
    return f"{_describe(env, module)}: {'.'.join(map(str, minimum))} or newer is needed"


def check_python(env: Environment) -> list[Finding]:
    """Check for an interpreter that torch's wheels exist for."""
    found = "{}.{}".format(*env.python)
    if (3, 10) <= env.python < (3, 14):
        return [Finding("Python", "ok", found)]
    remedy = "make env PYTHON=python3.12 VENV=.venv-py312"
    return [Finding("Python", "fail", f"{found}: 3.10 to 3.13 are supported", remedy)]


def check_torch(env: Environment) -> list[Finding]:
    """Check that torch is there, new enough and can be imported."""
    if problem := missing_or_old(env, "torch"):
        return [Finding("torch", "fail", problem, _install_torch(env))]
    version = env.versions["torch"]
    if error := env.error("torch"):
        remedy = _install_torch(env, options="--force-reinstall")
        return [Finding("torch", "fail", f"{version} cannot be imported: {error}", remedy)]
    return [Finding("torch", "ok", version)]


def check_torchvision(env: Environment) -> list[Finding]:
    """Check that torchvision is the release made for the installed torch.

    Each torch 2.m has its torchvision 0.(m + 15); another one, or one built for another kind of
    torch (CPU, CUDA), does not find torch's operators on import.
    """
    torch, version = env.versions.get("torch", ""), env.versions.get("torchvision")
    numbers = release(torch)
    if numbers < MINIMUM["torch"]:
        return []  # to be mended first
    match = f"0.{numbers[1] + 15}"
    if version is None:
        status: Literal["warn", "fail"] = "fail" if env.providers("mmpretrain") else "warn"
        found = "not installed: mmpretrain needs it"
        return [Finding("torchvision", status, found, _pip(f"torchvision=={match}.*"))]
    if release(version)[:2] != release(match):
        found = f"{version} is made for another torch: {torch} needs {match}"
    elif error := env.error("torchvision"):
        found = f"{version} is built for another torch than {torch}: {error}"
    else:
        return [Finding("torchvision", "ok", version)]
    # torch goes along with its exact release, so that pip takes neither another version nor a
    # local build (2.13.0+cpu), which is what === excludes
    pair = [f"torch==={'.'.join(map(str, numbers))}", f"torchvision=={match}.*"]
    return [Finding("torchvision", "fail", found, _pip(*pair, options="--force-reinstall"))]


def check_cuda(env: Environment) -> list[Finding]:
    """Check that torch can use the GPUs that the driver shows."""
    if "torch" not in env.probes or env.error("torch"):
        return []
    cuda = str(env.probes["torch"].values["cuda"])
    built = f"torch is built for CUDA {cuda}" if cuda else "torch is built without CUDA"
    if not env.gpus:
        return [Finding("CUDA", "ok", f"no GPU visible, {built}")]
    gpus = f"{len(env.gpus)} x {env.gpus[0]}"
    if not cuda:
        remedy = _install_torch(env, options="--force-reinstall")
        return [Finding("CUDA", "warn", f"{gpus}, but {built}: it runs on the CPU", remedy)]
    if env.visible_devices in ("", "-1"):
        gpus += f", hidden by CUDA_VISIBLE_DEVICES={env.visible_devices}"
    elif not env.probes["torch"].values["usable"]:
        found = f"{gpus}, but {built}, which the driver does not support (the command is Ubuntu's)"
        return [Finding("CUDA", "warn", found, "sudo ubuntu-drivers install")]
    return [Finding("CUDA", "ok", f"{gpus}, {built}")]


def check_mmengine(env: Environment) -> list[Finding]:
    """Check MMEngine, its need of ``pkg_resources`` and its loading of checkpoints."""
    remedy = _pip(env.pin(env.distribution("mmengine")))
    if not env.providers("mmengine"):
        return [Finding("mmengine", "fail", "not installed", remedy)]
    name, found = env.providers("mmengine")[0], _describe(env, "mmengine")
    version = env.versions[name]
    # what OpenMMLab has mended in 0.11, and the fork before
    unmended = name != ONEDL["mmengine"] and release(version) < (0, 11)
    finding = Finding("mmengine", "ok", found)
    if problem := missing_or_old(env, "mmengine"):
        finding = Finding("mmengine", "fail", problem, remedy)
    elif error := env.error("mmengine"):
        remedy = _pip(env.pin(name), options="--force-reinstall --no-deps")
        finding = Finding("mmengine", "fail", f"{found} cannot be imported: {error}", remedy)
    elif unmended and release(env.versions.get("torch", "")) >= (2, 6):
        found += (
            " cannot load its own checkpoints with torch >= 2.6; mmscalablevit allow-lists what"
            " they hold, so its tools do, but other programs in this environment do not"
        )
        finding = Finding("mmengine", "warn", found, remedy)
    findings, setuptools = [finding], env.versions.get("setuptools")
    if unmended and not env.has_pkg_resources:
        found = f"{setuptools or 'not installed'}: mmengine {version} imports pkg_resources, "
        found += "which setuptools 82 removed"
        findings.append(Finding("setuptools", "fail", found, _pip("setuptools<82")))
    elif setuptools is not None:
        findings.append(Finding("setuptools", "ok", setuptools))
    return findings


def check_mmcv(env: Environment) -> list[Finding]:
    """Check mmcv: one build of it, of a version the frameworks take, with operators that run."""
    names, remedy = env.providers("mmcv"), _reinstall_mmcv(env)
    if "mmcv-lite" in names and len(names) > 1:
        found = f"{names[0]} and mmcv-lite are both installed and overwrite each other's files"
        return [Finding("mmcv", "fail", found, remedy)]
    if problem := missing_or_old(env, "mmcv"):
        return [Finding("mmcv", "fail", problem, remedy)]
    found = _describe(env, "mmcv")
    if refusing := _refusing_mmcv(env):
        found += f": {' and '.join(refusing)} refuse mmcv >= 2.2"
        return [Finding("mmcv", "fail", found, remedy)]
    return [Finding("mmcv", "ok", found), *_check_ops(env)]


def _refusing_mmcv(env: Environment) -> list[str]:
    """Return the installed frameworks of upstream that refuse the installed mmcv."""
    names = env.providers("mmcv")
    too_new = names and release(env.versions[names[0]]) >= (2, 2)
    frameworks = [UPSTREAM["mmdet"], UPSTREAM["mmseg"]] if too_new else []
    return [name for name in frameworks if name in env.versions]


def _check_ops(env: Environment) -> list[Finding]:
    missing = (
        "mmcv has none: the backbone and classification work, "
        "the detectors and segmentors that use them do not"
    )
    error = env.error("mmcv")
    if "mmcv-lite" in env.versions or "No module named 'mmcv._ext'" in error:
        return [Finding("mmcv ops", "warn", missing, _reinstall_mmcv(env))]
    if "mmcv" not in env.probes:
        return []
    if error:
        found = f"do not run, they may be built for another torch: {error}"
        return [Finding("mmcv ops", "fail", found, _reinstall_mmcv(env))]

    ops_cuda = str(env.probes["mmcv"].values["cuda"])
    torch = env.probes.get("torch", Probe()).values
    torch_cuda = str(torch.get("cuda", ""))
    if ops_cuda and torch_cuda and release(ops_cuda)[:1] != release(torch_cuda)[:1]:
        found = f"compiled with CUDA {ops_cuda}, torch with CUDA {torch_cuda}"
        return [Finding("mmcv ops", "fail", found, _reinstall_mmcv(env, cuda=True))]
    if torch.get("usable") and not ops_cuda:
        found = "run on the CPU only: detection cannot use the GPU"
        return [Finding("mmcv ops", "warn", found, _reinstall_mmcv(env, cuda=True))]
    built = f"built for CUDA {ops_cuda}" if ops_cuda else "built for the CPU"
    return [Finding("mmcv ops", "ok", f"load and run, {built}")]


def check_frameworks(env: Environment) -> list[Finding]:
    """Check the three frameworks: what lacks restricts what can be trained."""
    findings = []
    tasks = {"mmpretrain": "classification", "mmdet": "detection", "mmseg": "segmentation"}
    for module, task in tasks.items():
        names = env.providers(module)
        if not names:
            remedy = _pip(env.pin(env.distribution(module)))
            found = f"not installed: no {task} configs"
            findings.append(Finding(module, "warn", found, remedy))
            continue
        found, error = _describe(env, module), env.error(module)
        # mmseg's wheel does not list two modules that it imports
        lacking = [name for name in ("ftfy", "regex") if name not in env.versions]
        if module == "mmseg" and lacking:
            found += f" imports {' and '.join(lacking)}: not installed"
            findings.append(Finding(module, "fail", found, _pip(*lacking)))
        elif error and names[0] in _refusing_mmcv(env):
            remedy = _reinstall_mmcv(env)
            findings.append(Finding(module, "fail", f"{found} refuses mmcv: {error}", remedy))
        elif error and ("mmcv._ext" in error or "mmcv.ops" in error):
            found += f" cannot be imported without mmcv's ops: no {task} configs"
            findings.append(Finding(module, "warn", found, _reinstall_mmcv(env)))
        elif error:
            remedy = _remedy_of_cause(env, error) or _pip(
                env.pin(names[0]), options="--force-reinstall"
            )
            findings.append(Finding(module, "fail", f"{found} cannot be imported: {error}", remedy))
        else:
            findings.append(Finding(module, "ok", found))
    return findings


def _remedy_of_cause(env: Environment, error: str) -> str:
    """Return what mends the package below from which an error comes, or nothing."""
    checks = {"torch": check_torch, "torchvision": check_torchvision, "mmengine": check_mmengine}
    for module, run in checks.items():
        findings = run(env)
        if findings and (env.error(module) == error or f"No module named '{module}'" in error):
            return findings[0].remedy
    return ""


def check_stacks(env: Environment) -> list[Finding]:
    """Check that OpenMMLab's releases and the onedl forks are not mixed."""
    upstream = env.installed(UPSTREAM) + env.installed(LITE)
    onedl = env.installed(ONEDL)
    if not (upstream and onedl):
        name = "onedl forks" if onedl else "OpenMMLab releases" if upstream else "none"
        return [Finding("stack", "ok", name)]
    drop, keep = (upstream, onedl) if len(onedl) > len(upstream) else (onedl, upstream)
    remedy = f"pip uninstall -y {' '.join(drop)}"
    # removing one provider of a module takes the files of the other away, too
    damaged = [
        name
        for providers in PROVIDERS.values()
        for name in keep
        if name in providers and set(providers).intersection(drop)
    ]
    if damaged:
        options = "--force-reinstall --no-deps --no-build-isolation --no-cache-dir"
        remedy += f" && {_pip(*map(env.pin, damaged), options=options)}"
    found = (
        f"OpenMMLab releases ({', '.join(upstream)}) and onedl forks ({', '.join(onedl)}) "
        "are mixed: they write to the same directories"
    )
    return [Finding("stack", "fail", found, remedy)]


CHECKS = (
    check_python,
    check_torch,
    check_torchvision,
    check_cuda,
    check_mmengine,
    check_mmcv,
    check_frameworks,
    check_stacks,
)


def check(env: Environment) -> list[Finding]:
    """Judge an environment: findings in the order of the report."""
    return [finding for run in CHECKS for finding in run(env)]
