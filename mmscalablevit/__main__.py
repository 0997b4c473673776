"""Print the environment report: ``python -m mmscalablevit``."""

from __future__ import annotations

import sys
import textwrap

from mmscalablevit.environment import report
from mmscalablevit.errors import Finding
from mmscalablevit.version import __version__


def render(findings: list[Finding]) -> str:
    """Lay out the findings as a table, followed by each problem and its command."""
    width = max(len(finding.name) for finding in findings)
    lines = [f"mmscalablevit {__version__}, {sys.executable}", ""]
    for finding in findings:
        start = f"  {finding.name:<{width}}  {finding.status:<4}  "
        lines += textwrap.wrap(
            finding.found,
            width=100,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_on_hyphens=False,
        )
    # one command may mend several findings
    problems: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.status != "ok":
            problems.setdefault(finding.remedy, []).append(finding)
    for remedy, group in problems.items():
        kind = "Problem" if any(f.status == "fail" for f in group) else "Note"
        lines += ["", f"{kind} with {', '.join(f.name for f in group)}. To mend it:"]
        lines += [f"    {remedy}"]
    if not problems:
        lines += ["", "No problems found."]
    return "\n".join(lines)


def main() -> int:
    """Print the report; the exit status is 1 if something has to be mended."""
    sys.stderr.write("Examining the environment, some seconds ...\n")
    findings = report()
    sys.stdout.write(render(findings) + "\n")
    return int(any(finding.status == "fail" for finding in findings))


if __name__ == "__main__":
    raise SystemExit(main())
