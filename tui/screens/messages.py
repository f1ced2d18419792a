"""Messages between threads, screens and the application."""

from __future__ import annotations

from textual.message import Message

from gputrain.tui.screens.quit_result import QuitResult
from gputrain.tui.state.reader_thread import Frame


class FrameReady(Message):
    """The reader has a new frame. Frames are complete, so a new one replaces one that is still queued."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def can_replace(self, message: Message) -> bool:
        """Whether this message replaces the queued `message`."""
        return isinstance(message, FrameReady)


class ReaderFailed(Message):
    """The reader thread raised an unexpected exception."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class DashboardClosed(Message):
    """The user closed the dashboard of a run; `inner`: another screen is below it."""

    def __init__(self, quit_result: QuitResult, inner: bool) -> None:
        super().__init__()
        self.quit_result = quit_result
        self.inner = inner


class ActionFinished(Message):
    """An action on a thread finished or `failed`: a command was sent, a file was written. `text` is for the user."""

    def __init__(self, text: str, failed: bool) -> None:
        super().__init__()
        self.text = text
        self.failed = failed
