"""A dialog of one text over work that a thread does meanwhile; what it tells and how it ends is shown as it comes."""

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

from gputrain.tui.actions.launcher_choices import EXPECTED_ERRORS, said
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.render.theme import Palette
from gputrain.tui.widgets.menu import as_text

Result = TypeVar("Result")


class CancelledError(Exception):
    """Nobody looks any more."""


class WorkScreen(ModalScreen[Result]):
    """Escape closes it at any time; subclasses say what is done, and what of it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f10", "close", "close"),
        Binding("ctrl+c", "close", show=False, priority=True),
    ]
    NAME: ClassVar[str]
    """Of the thread, and of the text."""
    HEADING: ClassVar[str]
    CLOSING: ClassVar[str] = "Escape ends it"
    LOOK: ClassVar[str] = "dialog wide"
    """Classes of the style sheet."""
    SECONDS: ClassVar[float | None] = 1.0
    """Between two looks at the clock; None: no time is shown."""

    class Told(Message):
        """Something that became known meanwhile."""

        def __init__(self, news: Any) -> None:
            super().__init__()
            self.news = news

    class Ended(Message):
        """The work is done, or failed with `error`."""

        def __init__(self, made: Any, error: str = "") -> None:
            super().__init__()
            self.made = made
            self.error = error

    def __init__(self, palette: Palette, ascii_only: bool) -> None:
        """Nothing is begun before it is shown."""
        super().__init__()
        self._palette, self._ascii = palette, ascii_only
        self._error = ""
        self._over = self._left = False
        self._cancel: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        """One scrollable text."""
        with VerticalScroll(classes=self.LOOK) as dialog:
            dialog.border_title = self.HEADING
            dialog.border_subtitle = self.CLOSING
            yield Static(id=self.NAME, markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self._show()
        if self.SECONDS is not None:
            self.set_interval(self.SECONDS, self._show)
        # A daemon: whoever leaves need not wait for it.
        threading.Thread(target=self._work, name=self.NAME, daemon=True).start()

    @abstractmethod
    def work(self) -> Any:
        """Do it, in the thread; `tell` says what becomes known.

        Raises what `EXPECTED_ERRORS` names; LeftError ends it quietly.
        """

    @abstractmethod
    def hear(self, news: Any) -> None:
        """Take what `work` told."""

    @abstractmethod
    def take(self, made: Any) -> None:
        """Take what came of it."""

    @abstractmethod
    def lines(self, columns: int) -> list[Line]:
        """What is shown now."""

    @abstractmethod
    def result(self) -> Result:
        """What whoever opened it is given when it closes."""

    def tell(self, news: Any) -> None:
        """From the thread: `hear` gets it."""
        self.post_message(self.Told(news))

    def started(self, cancel: Callable[[], None]) -> None:
        """From the thread: `cancel` ends what it waits for."""
        self._cancel = cancel
        if self._left:
            cancel()

    def _work(self) -> None:
        try:
            made = self.work()
        except CancelledError:
            return
        except EXPECTED_ERRORS as error:
            self.post_message(self.Ended(None, said(error)))
        else:
            self.post_message(self.Ended(made))

    def on_work_screen_told(self, message: Told) -> None:
        """Show it."""
        self.hear(message.news)
        self._show()

    def on_work_screen_ended(self, message: Ended) -> None:
        """Show what came of it."""
        self._over, self._error = True, message.error
        if not message.error:
            self.take(message.made)
        self._show()

    def on_resize(self) -> None:
        """Wrap anew, once the dialog has its new width."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        columns = max(40, self.query_one(VerticalScroll).scrollable_content_region.width)
        self.query_one(f"#{self.NAME}", Static).update(as_text(self.lines(columns), self._palette, self._ascii))

    def action_close(self) -> None:
        """Back; work that goes on is ended, where it can be."""
        self._left = True
        if not self._over:
            self._cancel()
        self.dismiss(self.result())
