"""Panels drawn without an application."""

from __future__ import annotations

from collections.abc import Sequence

from gputrain.engine.events import AnyEvent
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.widgets.panel import View
from helpers.tui import scripted


def view(*events: AnyEvent, **changes: object) -> View:
    script, store = scripted.Script(), RunStore()
    for event in events:
        store.apply(script.at(event, 0.5))
    return View(now=store.snapshot(), caught_up=True, **changes)  # type: ignore[arg-type]


def text(drawn: Sequence[Line]) -> str:
    return "\n".join("".join(part for part, _ in line).rstrip() for line in drawn)


def roles(drawn: Sequence[Line], part: str) -> set[str]:
    return {role for line in drawn for shown, role in line if part in shown}
