"""Waits for conditions in an application under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from textual.pilot import Pilot

_Result = TypeVar("_Result")


async def until(pilot: Pilot[_Result], condition: Callable[[], bool]) -> None:
    """Let the application work until `condition` holds; the test's own time-out is the limit."""
    while not condition():
        await pilot.pause(0.01)
