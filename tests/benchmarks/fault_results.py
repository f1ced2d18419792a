"""Results of the fault matrix: a line for each try in a file, and figures of all tries of a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_FAILURES = 5


def kept_lines(file: Path) -> list[dict[str, Any]]:
    """The tries in a file of results; a last line that was cut off is none."""
    try:
        texts = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for text in texts:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def figures_of(tries: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    """Figures of all tries of one fault. `what`: what happens, and the required outcome."""
    figures: dict[str, Any] = {
        "tries": len(tries),
        "survived": sum(bool(one["survived"]) for one in tries),
        "lost": sum(one["lost"] for one in tries),
        "said": tries[-1]["said"] if tries else "",
        "what": what,
    }
    failures = [f"try {one['number']}: {one['said']}" for one in tries if not one["survived"] or one["lost"]]
    if failures:
        figures["failures"] = failures[:_FAILURES]
    for name in ("named", "again", "load"):
        values = [one[name] for one in tries if one.get(name) is not None]
        if values:
            figures[name] = {"median": round(median(values), 1), "most": round(max(values), 1)}
    figures["seconds"] = round(sum(one.get("seconds", 0.0) for one in tries), 1)
    return figures


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of several faults in Markdown."""
    rows = [
        "| fault | tries | survived | lost | s until named | s until the next step | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in figures.items():
        times = " | ".join(_spread(one.get(key)) for key in ("named", "again", "load"))
        rows.append(f"| `{name}` | {one['tries']} | {one['survived']} | {one['lost']} | {times} |")
    return "\n".join(rows)


def _spread(values: Mapping[str, float] | None) -> str:
    """Median and the largest value."""
    return f"{values['median']:.1f}, at most {values['most']:.1f}" if values else "–"
