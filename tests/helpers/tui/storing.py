"""Snapshots of a store after given events."""

from __future__ import annotations

from gputrain.engine.events import AnyEvent, Steps
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from helpers.tui import scripted


def after(*events: AnyEvent, apart: float = 1.0) -> Snapshot:
    script, store = scripted.Script(), RunStore()
    for event in events:
        store.apply(script.at(event, apart))
    return store.snapshot()


def window(**changes: object) -> Steps:
    known: dict[str, object] = {
        "step": 2,
        "epoch": 0,
        "epoch_step": 2,
        "images": 512,
        "window_steps": 2,
        "window_seconds": 1.0,
        "images_per_second": 512.0,
        "loss": 2.0,
        "lr": 0.1,
        "data_wait": 0.2,
        "copy": None,
        "compute": 0.7,
        "other": 0.1,
    }
    return Steps(**{**known, **changes})  # type: ignore[arg-type]
