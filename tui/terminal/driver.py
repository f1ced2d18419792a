"""The terminal driver: Textual's driver for Linux with filtered input, and output that survives a busy terminal.

It relies on internals of Textual 8.2, to which the project is pinned.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, TextIO

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from gputrain.tui.terminal import hangup
from gputrain.tui.terminal.input_filter import InputFilter

if TYPE_CHECKING:
    from typing import Any

    from textual.app import App

_READ_SECONDS = 0.1
"""Time between two looks for keys whose end is missing, while somebody types."""
_IDLE_SECONDS = 60.0
"""The same while nobody does: waking up ten times a second for nothing took a tenth of an idle screen's CPU time."""
_TYPING_SECONDS = 2.0
"""Time after the last input for which somebody counts as typing."""
_CHUNK = 4096


class TerminalDriver(LinuxDriver):
    """Reads keys on a thread. No input can end that thread, and with it the screen."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        if self._file is not None:
            self._file = TerminalOutput(self._file)  # type: ignore[assignment]
        self._waking, self._wake = os.pipe()
        """Ends the input thread's wait."""

    def disable_input(self) -> None:
        """Stop reading keys."""
        os.write(self._wake, b"\0")
        super().disable_input()
        os.read(self._waking, 1)

    def run_input_thread(self) -> None:
        """Read, filter and dispatch input until the driver stops or the terminal closes."""
        parser, keys = XTermParser(self._debug), InputFilter()
        idle_since = time.monotonic()
        while not self.exit_event.is_set():
            timeout = keys.timeout
            longest = _READ_SECONDS if time.monotonic() - idle_since < _TYPING_SECONDS else _IDLE_SECONDS
            ready, _, _ = select.select([self.fileno, self._waking], [], [], min(longest, timeout or longest))
            if self.fileno in ready:
                try:
                    data = os.read(self.fileno, _CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self._app.call_later(self._input_closed)
                    return
                text = keys.feed(data)
                idle_since = time.monotonic()
            elif timeout is not None and time.monotonic() - idle_since >= timeout:
                text = keys.flush()
            else:
                text = ""
            parser = self._dispatch(parser, text)

    def _dispatch(self, parser: XTermParser, text: str) -> XTermParser:
        """Send the events of `text` to the application. Returns the parser to use from now on."""
        try:
            for event in parser.feed(text) if text else ():
                self.process_message(event)
            for event in parser.tick():
                self.process_message(event)
        except Exception:  # noqa: BLE001 - whatever the terminal sent: drop it and go on
            return XTermParser(self._debug)
        return parser

    def _input_closed(self) -> None:
        """End like a hang-up if the terminal was closed; otherwise close the screen with a message."""
        hangup.end_if_gone()
        self._app.panic("The terminal closed its input.")


class TerminalOutput:
    """A file for Textual's writer thread: waits while the terminal is busy, and drops output if it was closed.

    Another program may have set the terminal to non-blocking; a plain file then raises an exception, which ends the
    writer thread and freezes the screen.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write `text` completely. Returns its length."""
        data = memoryview(text.encode(self._file.encoding or "utf-8", "replace"))
        while data:
            try:
                data = data[os.write(self.fileno(), data) :]
            except BlockingIOError:
                select.select([], [self.fileno()], [], _READ_SECONDS)
            except OSError:
                # Closed: the hang-up check ends the program.
                break
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` does not buffer."""

    def fileno(self) -> int:
        """The file descriptor of the terminal."""
        return self._file.fileno()

    def isatty(self) -> bool:
        """Whether the output is a terminal."""
        return self._file.isatty()
