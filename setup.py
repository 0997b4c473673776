"""Packaging of mmscalablevit; the settings of the tools are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_requirements(name: str) -> list[str]:
    """Return the requirements of ``requirements/{name}.txt`` without their comments."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    stripped = (line.split("#", 1)[0].strip() for line in lines)
    return [line for line in stripped if line]


def read_version() -> str:
    """Return ``__version__`` without importing the package, which needs torch."""
    text = (ROOT / "mmscalablevit" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("mmscalablevit/version.py has no line __version__ = ...")
    return match.group(1)


setup(
    name="mmscalablevit",
    version=read_version(),
    description="ScalableViT for classification, detection and segmentation with OpenMMLab",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["mmscalablevit", "mmscalablevit.*"]),
    # What MMEngine and MIM look for in an installed package. In git these are links to the folders
    # of the checkout, so that an editable install has them too; a wheel gets the files.
    package_data={
        "mmscalablevit": [
            ".mim/*.yml",
            *(f".mim/configs/**/*.{kind}" for kind in ("py", "yml", "md")),
            *(f".mim/tools/*.{kind}" for kind in ("py", "sh")),
        ]
    },
    python_requires=">=3.10,<3.14",
    # The mm packages are extras, not hard requirements: there are two stacks with the same import
    # names, OpenMMLab's own and the onedl-* forks, and pip, which knows nothing of that, would
    # install one over the other and break both. With the extras left out, `pip install -e .`
    # beside an installed stack changes nothing in it. `python -m mmscalablevit` says what lacks.
    install_requires=["torch>=2.4", "numpy"],
    # mmcv is compiled against the installed torch, so the first two need `--no-build-isolation`;
    # `make env` does it and keeps the wheel.
    extras_require={
        "upstream": read_requirements("upstream"),
        "onedl": read_requirements("onedl"),
        # the verified torch; the format of the metadata has no place for ===
        "torch": [line.replace("===", "==") for line in read_requirements("torch")],
        "digits": read_requirements("digits"),
        "hub": read_requirements("hub"),
        "dev": read_requirements("dev"),
        "docs": read_requirements("docs"),
        "export": read_requirements("export"),
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
