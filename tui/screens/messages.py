"""Messages of the dashboard."""

from __future__ import annotations

from textual.message import Message

from gputrain.tui.screens.quit_result import QuitResult
from gputrain.tui.state.reader_thread import Frame


class FrameReady(Message):
    """The reader has a newer frame. A frame is all that is known, so a newer one replaces one that still waits."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def can_replace(self, message: Message) -> bool:
        """Whether this message makes `message`, which still waits, superfluous."""
        return isinstance(message, FrameReady)


class ReaderFailed(Message):
    """The reader met an error in this program."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class DashboardClosed(Message):
    """The person left the dashboard of a run; `inner`: for the screen below it."""

    def __init__(self, quit_result: QuitResult, inner: bool) -> None:
        super().__init__()
        self.quit_result = quit_result
        self.inner = inner


class ActionFinished(Message):
    """Something was done on a thread, or `failed`: a command was handed to the run, files were written."""

    def __init__(self, text: str, failed: bool) -> None:
        super().__init__()
        self.text = text
        self.failed = failed
