"""What can be told of a run before it starts: findings for preflight, training and testing."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mmengine.logging import print_log

from mmscalablevit.errors import Finding, UsageError


def require(findings: Iterable[Finding], place: str = "") -> None:
    """Stop at the first finding that has to be mended, and log those that restrict a run.

    Args:
        findings: What the checks yield.
        place: Begins each message, such as ``'train_dataloader: '``.

    Raises:
        UsageError: Something has to be mended.
    """
    for finding in findings:
        message = f"{place}{finding.found}\n  {finding.remedy}".rstrip()
        if finding.status == "fail":
            raise UsageError(message)
        if finding.status == "warn":
            print_log(message, logger="current", level=logging.WARNING)
