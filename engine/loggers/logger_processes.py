"""The logger processes of a run: the supervisor starts and watches them, and never waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence

from gputrain.engine.common import files
from gputrain.engine.events import Notice
from gputrain.engine.loggers import logger_choice
from gputrain.engine.processes import background_process
from gputrain.engine.runs.run_directory import RunDir

SILENT_SECONDS = 60.0
"""A logger without output for this long counts as hung; importing its package takes a few seconds."""


class LoggerProcesses:
    """One process per logger. Each failure is reported once and does not affect the run."""

    def __init__(self, run: RunDir, names: Sequence[str], silent_seconds: float = SILENT_SECONDS) -> None:
        """Start the processes, on the main thread. Raises OSError if one can't be started."""
        self._loggers = [_Logger(run, name, silent_seconds) for name in names]

    def check(self) -> Iterator[Notice]:
        """Warnings about loggers that have ended or hang, once each."""
        for logger in self._loggers:
            if text := logger.warning():
                yield Notice(level="warning", text=text, source="supervisor")

    def close(self) -> None:
        """The run has ended: loggers finish by themselves; those that hang are killed."""
        for logger in self._loggers:
            logger.close()


class _Logger:
    """A process that logs one run to one place."""

    def __init__(self, run: RunDir, name: str, silent_seconds: float) -> None:
        self._run_id = run.id
        self._name = name
        self._silent_seconds = silent_seconds
        self._log = run.directory / f"{name}.log"
        command = logger_choice.command(run, name, logger_choice.default_folder(run, name))
        self._process = background_process.start(command, self._log)
        self._last_output = time.monotonic()
        self._warned = False
        threading.Thread(target=self._read_output, name=f"{name} logger", daemon=True).start()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            while os.read(lines.fileno(), 4096):
                self._last_output = time.monotonic()

    @property
    def _hangs(self) -> bool:
        return time.monotonic() - self._last_output > self._silent_seconds

    def warning(self) -> str:
        """Why it no longer logs, the first time it is known; else ``""``."""
        code = self._process.poll()
        if self._warned or (code is None and not self._hangs):
            return ""
        self._warned = True
        what = f"has made no progress for {self._silent_seconds:g} s" if code is None else f"ended ({_ending(code)})"
        last_line = files.last_line(self._log)
        return (
            f"logging to {self._name} {what}{': ' + last_line if last_line else ''}; the run continues without it, and "
            f"gputrain-tui log {self._run_id} --to {self._name} --dir FOLDER logs the whole run afterwards"
        )

    def close(self) -> None:
        """See `LoggerProcesses.close`."""
        self._warned = True
        if self._process.poll() is None and self._hangs:
            self._process.kill()
            self._process.wait()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
