"""Measures a program in its own terminal: CPU, memory, bytes sent, time until it shows values."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

COLUMNS, ROWS = 200, 50
PAINTED = 300
"""Characters that are no blanks after which a screen counts as painted: a frame with titles has more."""
TIMEOUT = 30.0
"""Seconds after which a program that has shown nothing is given up."""

_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[()][0-9A-B]|[=>78cM])"
)
_BLANKS = re.compile(rb"[\x00-\x20]+")


@dataclass(slots=True)
class Cost:
    """Cost of a program in a terminal of 200×50."""

    cpu_percent: float | None = None
    """Of one core, its children included."""
    rss_mib: float | None = None
    bytes_per_s: float | None = None
    first_paint_ms: float | None = None
    """From its start until `PAINTED` characters were sent."""
    first_figure_ms: float | None = None
    """From its start until the mark, a figure that it is to show, was sent."""
    start_cpu_ms: float | None = None
    """CPU time until the first paint, which other work on the machine hardly changes."""
    reason: str = ""
    """Why there are no figures."""


class Terminal:
    """A running program; its output is read and counted by a thread."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], mark: bytes = b"") -> None:
        """`mark`: text that the program shows as soon as it has values. Raises OSError if it cannot be started."""
        self._mark = mark
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.received = 0
        self.first_paint: float | None = None
        self.first_figure: float | None = None
        self.start_cpu: float | None = None
        self.painted, self.marked = threading.Event(), threading.Event()
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **env}
        self._began = time.perf_counter()
        try:
            self._child = subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
            )
        except OSError:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        start = b""
        while True:
            try:
                select.select([self._ours], [], [])
                chunk = os.read(self._ours, 1 << 16)
            except OSError:
                break
            if not chunk:
                break
            self.received += len(chunk)
            if not (self.painted.is_set() and (self.marked.is_set() or not self._mark)):
                start += chunk
                self._look(start)
        self.painted.set()
        self.marked.set()

    def _look(self, sent: bytes) -> None:
        now = time.perf_counter() - self._began
        shown = _BLANKS.sub(b"", _ESCAPES.sub(b"", sent))
        if self.first_paint is None and len(shown.decode("utf-8", "ignore")) >= PAINTED:
            self.first_paint, self.start_cpu = now, self.cpu_seconds()
            self.painted.set()
        if self._mark and self.first_figure is None and self._mark in _ESCAPES.sub(b"", sent):
            self.first_figure = now
            self.marked.set()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._child.pid)
            return [process, *process.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """CPU time of the program and its living children."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss(self) -> int:
        """Resident bytes of the program and its children."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def hold(self, held: bool) -> None:
        """Stop the program (SIGSTOP), or continue it."""
        self._child.send_signal(signal.SIGSTOP if held else signal.SIGCONT)

    def close(self) -> None:
        """End the program, with SIGKILL if necessary."""
        self.hold(False)
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(3)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(3)
        os.close(self._ours)


def cost(command: Sequence[str], env: Mapping[str, str], mark: bytes, settle: float, seconds: float) -> Cost:
    """Start `command`, let it settle, and measure it for `seconds`."""
    try:
        terminal = Terminal(command, env, mark)
    except OSError as error:
        return Cost(reason=f"not installed: {error.strerror}")
    try:
        terminal.painted.wait(TIMEOUT)
        terminal.marked.wait(TIMEOUT if mark else 0)
        time.sleep(settle)
        if terminal.first_paint is None or not terminal.alive:
            return Cost(reason="it ended at once" if not terminal.alive else f"nothing was seen in {TIMEOUT:g} s")
        began, cpu, received = time.perf_counter(), terminal.cpu_seconds(), terminal.received
        time.sleep(seconds)
        elapsed = time.perf_counter() - began
        return Cost(
            cpu_percent=(terminal.cpu_seconds() - cpu) / elapsed * 100,
            rss_mib=terminal.rss() / (1 << 20),
            bytes_per_s=(terminal.received - received) / elapsed,
            first_paint_ms=terminal.first_paint * 1000,
            first_figure_ms=terminal.first_figure * 1000 if terminal.first_figure is not None else None,
            start_cpu_ms=terminal.start_cpu * 1000 if terminal.start_cpu is not None else None,
        )
    finally:
        terminal.close()
