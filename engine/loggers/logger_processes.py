"""The loggers of a run as its supervisor sees them: started, watched, and never waited for."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Notice
from gputrain.engine.loggers import logger_choice
from gputrain.engine.runs.run_directory import RunDir

SILENT_SECONDS = 60.0
"""A logger that says nothing for so long hangs; importing its package takes a few."""


class LoggerProcesses:
    """One process a logger. What becomes of them is told once each and changes nothing for the run."""

    def __init__(self, run: RunDir, names: Sequence[str], silent_seconds: float = SILENT_SECONDS) -> None:
        """Start them. Call it on the main thread. Raises OSError if a process can't be started."""
        self._loggers = [_Logger(run, name, silent_seconds) for name in names]

    def check(self) -> Iterator[Notice]:
        """What is to be told about loggers that have ended or hang."""
        for logger in self._loggers:
            if text := logger.trouble():
                yield Notice(level="warning", text=text, source="supervisor")

    def leave(self) -> None:
        """The run is over: loggers finish by themselves, those that hang are ended."""
        for logger in self._loggers:
            logger.leave()


class _Logger:
    """A process that logs one run to one place."""

    def __init__(self, run: RunDir, name: str, silent_seconds: float) -> None:
        self._run_id = run.id
        self._name = name
        self._silent_seconds = silent_seconds
        self._log = run.directory / f"{name}.log"
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # A session of its own: it outlives the supervisor by what it still has to write.
            self._process = subprocess.Popen(
                logger_choice.command(run, name, logger_choice.default_folder(run, name)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=handle,
                start_new_session=True,
            )
        finally:
            os.close(handle)
        self._heard = time.monotonic()
        self._told = False
        threading.Thread(target=self._listen, name=f"{name} logger", daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            while os.read(lines.fileno(), 4096):
                self._heard = time.monotonic()

    @property
    def _hangs(self) -> bool:
        return time.monotonic() - self._heard > self._silent_seconds

    def trouble(self) -> str:
        """What is wrong with it, once; else empty."""
        code = self._process.poll()
        if self._told or (code is None and not self._hangs):
            return ""
        self._told = True
        what = f"has not moved for {self._silent_seconds:g} s" if code is None else f"ended ({_ending(code)})"
        said = self._last_words()
        return (
            f"logging to {self._name} {what}{': ' + said if said else ''}; the run goes on without it, and "
            f"gputrain-tui log {self._run_id} --to {self._name} --dir FOLDER logs all of it afterwards"
        )

    def _last_words(self) -> str:
        try:
            lines = self._log.read_bytes()[-4000:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return plain(lines[-1], 300) if lines else ""

    def leave(self) -> None:
        """See `LoggerProcesses.leave`."""
        self._told = True
        if self._process.poll() is None and self._hangs:
            self._process.kill()
            self._process.wait()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
