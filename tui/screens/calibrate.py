"""A calibration over the launcher: what is being measured, how long it takes, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.engine.calibrating import SECONDS
from gputrain.engine.calibration import Calibration
from gputrain.engine.childwork import Started, Tell
from gputrain.tui import format as words
from gputrain.tui.choosing import FAULTS, said
from gputrain.tui.lines import EMPTY, Line, line
from gputrain.tui.theme import Palette
from gputrain.tui.widgets.menu import as_text

Measure = Callable[[Tell, Started], Calibration]
"""Measures and keeps the result."""


class CalibrateScreen(ModalScreen[bool]):
    """Returns whether there is a new calibration. Escape ends the measurement."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]

    class Told(Message):
        """What is being done now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Ended(Message):
        """The measurement is through, or failed with `error`."""

        def __init__(self, made: Calibration | None, error: str = "") -> None:
            super().__init__()
            self.made = made
            self.error = error

    def __init__(self, measure: Measure, palette: Palette, ascii_only: bool, probable: float | None = None) -> None:
        """`probable`: how many seconds it will take; None: not known."""
        super().__init__()
        self._probable = probable
        self._measure, self._palette, self._ascii = measure, palette, ascii_only
        self._began = time.monotonic()
        self._doing = "starting"
        self._made: Calibration | None = None
        self._error = ""
        self._cancel: Callable[[], None] | None = None
        self._left = False

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title = "Calibrate"
            dialog.border_subtitle = "Escape ends it"
            yield Static(id="measuring", markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self._show()
        self.set_interval(1.0, self._show)
        threading.Thread(target=self._work, name="calibrate", daemon=True).start()

    def _work(self) -> None:
        def tell(text: str) -> None:
            self.post_message(self.Told(text))

        try:
            made = self._measure(tell, self._started)
        except FAULTS as error:
            self.post_message(self.Ended(None, said(error)))
        else:
            self.post_message(self.Ended(made))

    def _started(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        if self._left:
            cancel()

    def on_calibrate_screen_told(self, message: Told) -> None:
        """Show what is being done."""
        self._doing = message.text
        self._show()

    def on_calibrate_screen_ended(self, message: Ended) -> None:
        """Show what came of it."""
        self._made, self._error = message.made, message.error
        self._show()

    def _show(self) -> None:
        self.query_one("#measuring", Static).update(as_text(self._lines(), self._palette, self._ascii))

    def _lines(self) -> list[Line]:
        if self._error:
            return [line((f"■ {self._error}", "bad"))]
        if self._made is None:
            seconds = time.monotonic() - self._began
            rough = f"about {SECONDS:.0f} s, after torch has started and the data are known"
            left = self._probable - seconds if self._probable is not None else 0.0
            rest = f", about {words.duration(left)} left" if left >= 1 else ""
            return [
                line((f"○ {self._doing}…", "data"), f"  {words.duration(seconds)}{rest}"),
                EMPTY,
                line("Measures the workers, the step, both together and the memory they take:"),
                line(f"{rough}."),
            ]
        return [*_result(self._made), EMPTY, line("The plan now foretells speed, limit and times from it.")]

    def action_close(self) -> None:
        """Back to the launcher; a measurement that goes on is ended."""
        self._left = True
        if self._made is None and self._cancel is not None:
            self._cancel()
        self.dismiss(self._made is not None)


def _result(made: Calibration) -> list[Line]:
    """The measurements in words."""
    step = made.steps[-1]
    rows = [
        ("together", f"{words.rate(made.together)} img/s with {made.num_workers} workers"),
        ("workers alone", f"{words.rate(made.supply)} img/s"),
        ("decoding", f"{words.rate(made.decode_per_core)} img/s a core"),
        ("step alone", f"{words.rate(step.batch_size / step.seconds)} img/s at batches of {step.batch_size}"),
        ("memory", ", ".join(f"{words.size(s.peak_bytes)} at {s.batch_size}" for s in made.steps)),
        ("reading files", words.byte_rate(made.disk_rate)),
        ("validation", f"{words.rate(made.validation)} img/s"),
    ]
    return [line(("● measured", "good")), *(line((f"  {name:<15}", "dim"), (text, "bright")) for name, text in rows)]
