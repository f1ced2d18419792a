"""Base of the dialogs that run a job on a thread and show its progress and result as text."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from gputrain.tui.actions.launcher_choices import EXPECTED_ERRORS, error_text
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.render.theme import Palette
from gputrain.tui.widgets.menu import as_text

Result = TypeVar("Result")


class CancelledError(Exception):
    """The dialog was closed before the job finished."""


class WorkScreen(ModalScreen[Result]):
    """Runs `work` on a thread. Escape closes the dialog at any time. Subclasses define the job and its text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]
    NAME: ClassVar[str]
    """Name of the thread, and id of the text widget."""
    HEADING: ClassVar[str]
    CLOSING: ClassVar[str] = "Escape: cancel"
    DIALOG_CLASSES: ClassVar[str] = "dialog wide"
    """CSS classes of the dialog."""
    SECONDS: ClassVar[float | None] = 1.0
    """Seconds between two redraws of the elapsed time; None if no time is shown."""

    class Update(Message):
        """Progress of the job."""

        def __init__(self, update: Any) -> None:
            super().__init__()
            self.update = update

    class Ended(Message):
        """The job returned `result`, or failed with `error`."""

        def __init__(self, result: Any, error: str = "") -> None:
            super().__init__()
            self.result = result
            self.error = error

    def __init__(self, palette: Palette, ascii_only: bool) -> None:
        """The job starts when the dialog is shown."""
        super().__init__()
        self._palette, self._ascii = palette, ascii_only
        self._error = ""
        self._finished = self._cancelled = False
        self._cancel: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        """Compose one scrollable text."""
        with VerticalScroll(classes=self.DIALOG_CLASSES) as dialog:
            dialog.border_title = self.HEADING
            dialog.border_subtitle = self.CLOSING
            yield Static(id=self.NAME, markup=False)

    def on_mount(self) -> None:
        """Start the job."""
        self._show()
        if self.SECONDS is not None:
            self.set_interval(self.SECONDS, self._show)
        # A daemon thread: quitting does not wait for it.
        threading.Thread(target=self._work, name=self.NAME, daemon=True).start()

    @abstractmethod
    def work(self) -> Any:
        """Do the job on the thread and return its result; call `report` with progress.

        May raise EXPECTED_ERRORS, which the dialog shows, or CancelledError, which ends the job silently.
        """

    @abstractmethod
    def handle_update(self, update: Any) -> None:
        """Take progress that `work` reported."""

    @abstractmethod
    def handle_result(self, result: Any) -> None:
        """Take the result of `work`."""

    @abstractmethod
    def lines(self, columns: int) -> list[Line]:
        """The text to show now."""

    @abstractmethod
    def return_value(self) -> Result:
        """The value that the dialog returns when it closes."""

    def report(self, update: Any) -> None:
        """Pass progress from the thread to `handle_update`."""
        self.post_message(self.Update(update))

    def started(self, cancel: Callable[[], None]) -> None:
        """Take from the thread the function that cancels the job."""
        self._cancel = cancel
        if self._cancelled:
            cancel()

    def _work(self) -> None:
        try:
            result = self.work()
        except CancelledError:
            return
        except EXPECTED_ERRORS as error:
            self.post_message(self.Ended(None, error_text(error)))
        else:
            self.post_message(self.Ended(result))

    def on_work_screen_update(self, message: Update) -> None:
        """Show the progress."""
        self.handle_update(message.update)
        self._show()

    def on_work_screen_ended(self, message: Ended) -> None:
        """Show the result or the error."""
        self._finished, self._error = True, message.error
        if not message.error:
            self.handle_result(message.result)
        self._show()

    def on_resize(self) -> None:
        """Wrap the text again once the dialog has its new width."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        columns = max(40, self.query_one(VerticalScroll).scrollable_content_region.width)
        self.query_one(f"#{self.NAME}", Static).update(as_text(self.lines(columns), self._palette, self._ascii))

    def action_close(self) -> None:
        """Close the dialog and cancel a job that still runs."""
        self._cancelled = True
        if not self._finished:
            self._cancel()
        self.dismiss(self.return_value())
