"""Collected tables as a web page that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, StrictUndefined

from mmscalablevit.reproduction.cells import (
    PRELIMINARY,
    all_runs,
    facts,
    figures,
    groups,
    has_preliminary,
    is_preliminary,
    now,
    problems,
    states,
    title,
)
from mmscalablevit.reproduction.collecting import RunReport, TableReport
from mmscalablevit.reproduction.curves import draw_curves
from mmscalablevit.reproduction.state import State

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1f23; max-width: 74rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0; }
h3 { font-size: 1rem; margin: 1.8rem 0 0.2rem; overflow-wrap: anywhere; }
p.source { color: #5c636d; margin: 0 0 0.6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e1e4e8; }
th { border-bottom: 2px solid #b8bec6; vertical-align: bottom; }
td { white-space: nowrap; }
tr.titles th { border-bottom: none; padding-bottom: 0; text-align: center; }
.text { text-align: left; }
tr.peer td { color: #6b727c; }
tr.group td { text-align: left; font-weight: 600; background: #f5f6f8; }
.preliminary { font-style: italic; color: #6b727c; }
.state { border-radius: 0.7rem; padding: 0.05rem 0.6rem; font-size: 0.85rem; font-weight: 400; }
.done { background: #d9f2e0; } .running { background: #d6e9fb; } .queued { background: #e6e2f7; }
.interrupted { background: #fde6cf; } .missing { background: #eceef0; }
.warning { color: #a33b00; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0.1rem 1rem; margin: 0.4rem 0;
     font-size: 0.9rem; }
dt { color: #5c636d; } dd { margin: 0; overflow-wrap: anywhere; }
img { max-width: 100%; }
"""

_PAGE = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="source">Collected {{ time }}</p>
{% for table in tables %}
{% if tables | length > 1 %}
<h2>{{ table.title }}</h2>
{% endif %}
<p class="source">{{ table.source }}</p>
<div class="wide"><table>
<tr class="titles">
    <th></th>
    {% for title, parts in table.groups %}
    <th class="group" colspan="{{ parts | length }}">{{ title }}</th>
    {% endfor %}
    <th></th>
</tr>
<tr>
    <th></th>
    {% for title, parts in table.groups %}
    {% for part in parts %}
    <th>{{ part }}</th>
    {% endfor %}
    {% endfor %}
    <th class="text">state</th>
</tr>
{% for row in table.rows %}
    {% if row.group %}
<tr class="group"><td colspan="{{ table.width }}">{{ row.group }}</td></tr>
    {% endif %}
<tr{% if not row.states %} class="peer"{% endif %}>
    <td class="text">{{ row.name }}</td>
    {% for cell in row.cells %}
    <td{% if is_preliminary(cell) %} class="preliminary"{% endif %}>{{ cell }}</td>
    {% endfor %}
    <td class="text">
    {% for state in row.states %}
        <span class="state {{ state }}">{{ state }}</span>
    {% endfor %}
    </td>
</tr>
{% endfor %}
</table></div>
{% endfor %}
{% if remark %}
<p class="preliminary">{{ remark }}</p>
{% endif %}
<h2>Runs</h2>
{% for run in runs %}
<h3>{{ run.name }} <span class="state {{ run.state }}">{{ run.state }}</span></h3>
<dl>
{% for key, value in run.facts.items() %}
    <dt>{{ key }}</dt>
    <dd{% if key == "config changed" %} class="warning"{% endif %}>{{ value }}</dd>
{% endfor %}
</dl>
{% if run.picture %}
<img src="{{ run.picture }}" alt="learning curves of {{ run.name }}">
{% endif %}
{% for problem in run.problems %}
<p class="warning">{{ problem }}</p>
{% endfor %}
{% endfor %}
{% if missing %}
<h3>{{ missing | join(", ") }} <span class="state missing">missing</span></h3>
{% endif %}
{% if problems %}
<h2>Also found</h2>
<ul>
{% for problem in problems %}
<li>{{ problem }}</li>
{% endfor %}
</ul>
{% endif %}
</body>
</html>
"""
)


def to_html(reports: Sequence[TableReport]) -> str:
    """Render tables as a page, with learning curves inside."""
    runs = all_runs(reports)
    shown = [(report, run) for report, run in runs if not _is_blank(run)]
    return _PAGE.render(
        title=title(reports),
        style=_STYLE,
        time=now(),
        tables=[_table(report) for report in reports],
        remark=PRELIMINARY if has_preliminary(reports) else "",
        is_preliminary=is_preliminary,
        runs=[_run(report, run) for report, run in shown],
        missing=[run.training.name for _, run in runs if _is_blank(run)],
        problems=problems(reports),
    )


def _is_blank(run: RunReport) -> bool:
    """Whether there is nothing to say of a run but that it is missing."""
    return run.status.state is State.MISSING and not run.problems


def _table(report: TableReport) -> dict[str, object]:
    rows, group = [], ""
    for row in report.table.rows:
        rows.append(
            {
                "group": row.group if row.group != group else "",
                "name": row.name,
                "cells": figures(report, row),
                "states": states(report, row),
            }
        )
        group = row.group
    return {
        "title": report.table.title,
        "source": report.table.source,
        "groups": groups(report),
        "width": sum(len(parts) for _, parts in groups(report)) + 2,
        "rows": rows,
    }


def _run(report: TableReport, run: RunReport) -> dict[str, object]:
    known, state = facts(run), run.status.state.value
    if known["state"] == state:  # is said in the heading
        del known["state"]
    config = run.training.run.config
    rows = [row for row in report.table.rows if any(r.config == config for r in row.runs)]
    return {
        "name": run.training.name,
        "state": state,
        "facts": known,
        "picture": draw_curves(report.table, run, rows[0].published if rows else {}),
        "problems": run.problems,
    }
