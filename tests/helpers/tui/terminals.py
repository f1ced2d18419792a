"""Commands on a real pseudo terminal, whose screen pyte draws."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyte

COMMAND = (sys.executable, "-m", "gputrain.tui.cli")


class Terminal:
    """A process on a terminal. A thread reads its output all the time, as terminals do."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, size: tuple[int, int]) -> None:
        self.process = process
        self._master = master
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self._paused = False
        self.raw = bytearray()
        """All output."""
        self.attributes_before = termios.tcgetattr(master)
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._paused)
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            with self._changed:
                if data:
                    self._stream.feed(data)
                    self.raw += data
                else:
                    self._closed = True
                self._changed.notify_all()
            if not data:
                return

    @property
    def text(self) -> str:
        """What the screen shows."""
        with self._changed:
            return "\n".join(self._screen.display)

    def until(self, condition: Callable[[str], bool]) -> str:
        """Wait until the screen's text fulfils `condition`; the test's own time-out is the limit. Returns the text."""
        with self._changed:
            while not condition(text := "\n".join(self._screen.display)):
                assert not self._closed, f"the command ended:\n{text}"
                self._changed.wait(1.0)
            return text

    def wait(self, condition: Callable[[str], bool], seconds: float) -> None:
        """Wait for `condition`, but no longer than `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: condition("\n".join(self._screen.display)), seconds)

    def shows(self, *parts: str) -> str:
        """Wait until the screen shows all `parts`."""
        return self.until(lambda text: all(part in text for part in parts))

    def hides(self, part: str) -> str:
        """Wait until the screen does not show `part` any more."""
        return self.until(lambda text: part not in text)

    def send(self, data: bytes) -> None:
        """Type or paste."""
        while data:
            data = data[os.write(self._master, data) :]

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, as a window manager does."""
        with self._changed:
            self._screen.resize(max(1, rows), max(1, columns))
        termios.tcsetwinsize(self._master, (rows, columns))
        os.kill(self.process.pid, signal.SIGWINCH)

    def clear(self) -> None:
        """Lose the contents and report a resize, as a terminal whose size changed and changed back."""
        with self._changed:
            self._screen.reset()
        os.kill(self.process.pid, signal.SIGWINCH)

    def pause(self, paused: bool) -> None:
        """Stop reading the output, as a terminal does after Ctrl-S, or go on."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def ended(self) -> tuple[int, str]:
        """Wait for the end of the process. Returns its exit code and what it printed below the screen."""
        code = self.process.wait()
        self._reader.join()
        return code, self.text

    def attributes(self) -> list[Any]:
        """The terminal's settings: echo, line mode, signals of keys."""
        return termios.tcgetattr(self._master)

    def close(self) -> None:
        """Close the terminal's side."""
        os.close(self._master)


@contextmanager
def on_terminal(
    *arguments: str, size: tuple[int, int] = (120, 35), env: Mapping[str, str] | None = None, nonblocking: bool = False
) -> Iterator[Terminal]:
    """Run a command line, ``gputrain-tui`` unless `arguments` begin with a path; it is killed at the end."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (size[1], size[0]))
    if nonblocking:
        os.set_blocking(slave, False)
    command = arguments if arguments and arguments[0].startswith("/") else (*COMMAND, *arguments)
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})},
    )
    os.close(slave)
    terminal = Terminal(process, master, size)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()


def modes(output: bytes) -> dict[int, bool]:
    """The last state of each private mode that was set or reset."""
    found = re.findall(rb"\x1b\[\?([0-9;]+)([hl])", output)
    return {int(number): end == b"h" for numbers, end in found for number in numbers.split(b";")}
