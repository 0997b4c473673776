"""Print the environment report, or run a tool, in any folder.

``python -m mmscalablevit`` prints the report, ``python -m mmscalablevit TOOL [ARGUMENT ...]`` runs
a file of ``tools``, such as train, test or reproduce, and needs no checkout.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from mmscalablevit.environment import report
from mmscalablevit.errors import Finding
from mmscalablevit.files import find_configs
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


def run_tool(name: str, arguments: Sequence[str]) -> NoReturn:
    """Become a tool: this process ends with it, and has its exit status.

    Raises:
        SystemExit: There is no tool of this name.
    """
    files = find_configs().parent.joinpath("tools").iterdir()
    tools = {file.stem: file for file in sorted(files) if file.suffix in (".py", ".sh")}
    if name not in tools:
        sys.exit(f"error: there is no tool {name!r}; there are {', '.join(tools)}")
    program = sys.executable if tools[name].suffix == ".py" else "bash"
    os.execvp(program, [program, str(tools[name]), *arguments])


def main() -> int:
    """Print the report; the exit status is 1 if something has to be mended."""
    if sys.argv[1:]:
        run_tool(sys.argv[1], sys.argv[2:])
    sys.stderr.write("Examining the environment, some seconds ...\n")
    findings = report()
    sys.stdout.write(render(findings) + "\n")
    return int(any(finding.status == "fail" for finding in findings))


if __name__ == "__main__":
    raise SystemExit(main())
