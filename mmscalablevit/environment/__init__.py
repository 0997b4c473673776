"""What is installed, what of it does not fit together, and the command that mends it.

This subpackage must work in a broken environment, so it imports nothing but the standard library:
versions come from the distributions' metadata, and whatever can fail or crash on import is tried
in a process of its own. `python -m mmscalablevit` prints what `report` returns.
"""

from __future__ import annotations

from mmscalablevit.environment.checks import Finding, check
from mmscalablevit.environment.facts import Environment, Probe, collect
from mmscalablevit.environment.usable import require_usable

__all__ = ["Environment", "Finding", "Probe", "check", "collect", "report", "require_usable"]


def report() -> list[Finding]:
    """Examine the running interpreter's environment; takes some seconds for the imports."""
    return check(collect())
