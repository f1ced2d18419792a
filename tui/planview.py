"""A plan as lines of text: what the launcher shows beside its menus. Pure."""

from __future__ import annotations

from rich.text import Text

from gputrain.engine.plan import DEFAULT, Plan
from gputrain.engine.text import plain

_NAME, _VALUE, _ORIGIN = 23, 18, 26


def plan_text(plan: Plan, width: int) -> Text:
    """Facts, then what speaks against the plan, then each setting that somebody set, with where it came from."""
    text = Text(no_wrap=False)
    for reason in plan.refuses:
        text.append(f"✖ cannot run: {plain(reason, 300)}\n", "bold red")
    for warning in (*plan.adjustments, *plan.warnings):
        text.append(f"▲ {plain(warning, 300)}\n", "yellow")
    if len(text):
        text.append("\n")
    for name, fact in plan.facts:
        text.append(f"{name:<{_NAME}}", "dim")
        text.append(f"{plain(fact, 300)}\n")
    text.append("\n")
    for row in plan.rows:
        if row.origin == DEFAULT and not row.changed:
            continue
        text.append(f"{row.setting:<{_NAME}}", "dim")
        text.append(f"{plain(row.value, 60):<{_VALUE}} ", "bold")
        text.append(f"{plain(row.origin, 60):<{_ORIGIN}}", "cyan")
        if row.note and width > _NAME + _VALUE + _ORIGIN + 20:
            text.append(f" {plain(row.note, 200)}", "dim")
        text.append("\n")
    return text
