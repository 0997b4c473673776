"""The quick check that runs whenever the package is imported."""

from __future__ import annotations

import importlib.util
import sys
import warnings

from mmscalablevit.environment.checks import check_stacks, missing_or_old
from mmscalablevit.environment.facts import MINIMUM, Environment, installed_versions

REPORT_COMMAND = "python -m mmscalablevit"


def _is_report() -> bool:
    """Whether the interpreter was started as ``python -m mmscalablevit``, without a tool's name."""
    # While `-m` imports the package, before it knows the file, argv[0] is "-m".
    original = sys.orig_argv
    if sys.argv[:1] != ["-m"] or "-m" not in original:
        return False
    return original[original.index("-m") + 1 :] == ["mmscalablevit"]


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
    env = Environment(sys.version_info[:2], installed_versions())
    problems = [
        f"{module} is {problem}"
        for module in MINIMUM
        if (problem := missing_or_old(env, module))
        # built from source without metadata: the import will tell
        and (env.providers(module) or importlib.util.find_spec(module) is None)
    ]
    if problems:
        raise ImportError(
            f"mmscalablevit cannot be used here: {'; '.join(problems)}. "
            f"`{REPORT_COMMAND}` lists the commands that mend it."
        )
    for finding in check_stacks(env):
        if finding.status == "fail":
            message = f"{finding.found}; `{REPORT_COMMAND}` gives the command that mends it."
            warnings.warn(message, stacklevel=3)
    return True
