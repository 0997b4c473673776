"""The quick check that runs whenever the package is imported."""

from __future__ import annotations

import importlib.util
import sys
import warnings

from mmscalablevit.environment.facts import (
    LITE,
    MINIMUM,
    ONEDL,
    UPSTREAM,
    distributions,
    installed_versions,
    release,
)

REPORT_COMMAND = "python -m mmscalablevit"


def _is_report() -> bool:
    """Whether the interpreter was started as ``python -m mmscalablevit``."""
    # While `-m` imports the package, before it knows the file, argv[0] is "-m".
    original = sys.orig_argv
    if sys.argv[:1] != ["-m"] or "-m" not in original:
        return False
    return original[original.index("-m") + 1 :][:1] == ["mmscalablevit"]


def require_usable() -> bool:
    """Raise if the package cannot work with what is installed.

    Reads versions only and imports nothing, which takes a few milliseconds.

    Returns:
        False if the interpreter runs the report, which must not import the rest of the package.

    Raises:
        ImportError: torch, MMEngine or mmcv is missing or too old.
    """
    if _is_report():
        return False
    names = [name for module in MINIMUM for name in distributions(module)]
    versions = installed_versions(names)
    problems = []
    for module, minimum in MINIMUM.items():
        wanted = ".".join(map(str, minimum))
        found = [versions[name] for name in distributions(module) if name in versions]
        if not found:
            # built from source without metadata: the import will tell
            if importlib.util.find_spec(module) is None:
                problems.append(f"{module} >= {wanted} is not installed")
        elif max(map(release, found)) < minimum:
            problems.append(f"{module} {found[0]} is too old, {wanted} or newer is needed")
    if problems:
        raise ImportError(
            f"mmscalablevit cannot be used here: {'; '.join(problems)}. "
            f"`{REPORT_COMMAND}` lists the commands that mend it."
        )
    upstream = [name for name in versions if name in (*UPSTREAM.values(), *LITE.values())]
    onedl = [name for name in versions if name in ONEDL.values()]
    if upstream and onedl:
        warnings.warn(
            f"OpenMMLab's releases ({', '.join(upstream)}) and the onedl forks "
            f"({', '.join(onedl)}) are both installed and overwrite each other's files; "
            f"`{REPORT_COMMAND}` gives the command that mends it.",
            stacklevel=3,
        )
    return True
