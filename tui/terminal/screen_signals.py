"""Closes a screen in order when a signal arrives: the terminal gets back its main screen, cursor, mouse and echo."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import NoReturn, Self

from gputrain.tui.terminal import hangup

CLOSING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""Signals that close a screen. Keys such as Ctrl-C are none of them: a screen reads those as input."""


class ScreenSignals:
    """A context in which the first of these signals closes the screen. Later ones change nothing."""

    def __init__(self, waiting: Iterable[int] = ()) -> None:
        """`waiting`: signals that arrived before."""
        self.number: int | None = next(iter(waiting), None)
        """The signal that closes the screen; None without one."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._close: Callable[[], object] = lambda: None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        heard = [number for number in CLOSING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
        self._before = {number: signal.signal(number, self._record) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def when_running(self, loop: asyncio.AbstractEventLoop, close: Callable[[], object]) -> None:
        """From now on a signal calls `close` in `loop`; at once if one has arrived."""
        self._loop, self._close = loop, close
        if self.number is not None:
            loop.call_soon(close)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            hangup.end_if_gone()
        if self.number is None:
            self.number = number
            if self._loop is not None and not self._loop.is_closed():
                # Also wakes the loop.
                self._loop.call_soon_threadsafe(self._close)


def die_of(number: int) -> NoReturn:
    """End this process by a signal, as it would have ended without a handler."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Reached where the signal is blocked.
    os._exit(128 + number)
