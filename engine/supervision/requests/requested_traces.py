"""The request for a trace as the supervisor sees it: one at a time, its file, its summary, and why it does not end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.engine_choice import KERAS
from gputrain.engine.events import Phase, Traced, TraceSummary
from gputrain.engine.events.commands import ProfileCommand
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision.child_process import ChildProcess

WAIT_SECONDS = 20.0
"""Time without progress after which it is said why."""
SUMMARY_SECONDS = 300.0
KEPT = 5
"""Traces that a run keeps; older ones are deleted."""


class RequestedTraces:
    """Call all methods on the supervisor's main thread."""

    def __init__(self, run: RunDir, on_news: Callable[[Traced], None], engine: str) -> None:
        """`on_news` gets each answer, on any thread, for the record and for `learn`. `engine`: the run's."""
        self._run, self._on_news, self._engine = run, on_news, engine
        self._request: ProfileCommand | None = None
        self._heard = 0.0
        self._waiting = False
        self._analysis: threading.Thread | None = None
        self._result: Traced | None = None

    def take(self, command: ProfileCommand, trainer: ChildProcess | None, now: float) -> str:
        """Hand a request to the trainer, or refuse it; returns what is done, for the record."""
        why = self._refusal(trainer)
        # A script may have gone to another folder than the one that GPUTRAIN_HOME is relative to.
        folder = self._run.directory.absolute() / "traces"
        if not why:
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                why = f"{folder}: {error.strerror}"
        if why or trainer is None:
            self._on_news(Traced(request=command.id, verdict="refused", text=why))
            return "refused"
        self._request = msgspec.structs.replace(command, path=str(folder / f"{_name(command)}.json"))
        self._heard, self._waiting, self._analysis, self._result = now, False, None, None
        return trainer.send(self._request)

    def _refusal(self, trainer: ChildProcess | None) -> str:
        if self._request is not None:
            return f"a trace is being recorded already, for {plain(self._request.sender or 'somebody', 120)}"
        if trainer is None:
            return "no process of the run is running now"
        return "engine=keras has no torch profiler" if self._engine == KERAS else ""

    def learn(self, event: Traced, now: float) -> bool:
        """Take an answer; returns whether it belongs into the record."""
        if self._request is None or event.request != self._request.id:
            return event.verdict == "refused"
        self._heard, self._waiting = now, False
        if event.verdict == "written":
            work = (self._request, event)
            self._analysis = threading.Thread(target=self._work, args=work, name="trace", daemon=True)
            self._analysis.start()
            return False
        if event.verdict in ("done", "failed"):
            self._request = None
        return True

    def check(self, phase: Phase, now: float) -> Traced | None:
        """Once: why the recording does not begin or end, when nothing was heard for a while."""
        if self._request is None or self._waiting or self._analysis or now - self._heard < WAIT_SECONDS:
            return None
        self._waiting = True
        return Traced(request=self._request.id, verdict="waiting", text=_why_waiting(phase, now - self._heard))

    def ended(self) -> Traced | None:
        """The trainer has ended: what becomes of the trace, if one was asked for and is not in the record yet."""
        if self._request is None:
            return None
        request, self._request = self._request, None
        if self._analysis is not None:
            self._analysis.join(SUMMARY_SECONDS)
            if self._result is not None:
                return self._result
        with contextlib.suppress(OSError):
            Path(request.path).unlink(missing_ok=True)
        return Traced(request=request.id, verdict="failed", text="the run ended before the trace was complete")

    def _work(self, request: ProfileCommand, written: Traced) -> None:
        self._result = _summarized(request, written)
        self._on_news(self._result)


def _summarized(request: ProfileCommand, written: Traced) -> Traced:
    """The answer once the trainer has written its file: the summary, or why there is none."""
    raw = Path(request.path)
    kept = raw.with_suffix(".json.gz")
    command = [sys.executable, "-P", "-m", "gputrain.engine.tracing", str(raw), str(kept), str(written.steps)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SUMMARY_SECONDS, check=False)
        if done.returncode:
            text = done.stdout.decode("utf-8", "replace").strip() or _last_line(done.stderr)
            return Traced(request=request.id, verdict="failed", text=plain(text, 500))
        summary = msgspec.json.decode(done.stdout, type=TraceSummary)
        size = kept.stat().st_size
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        return Traced(request=request.id, verdict="failed", text=plain(f"no summary: {error}", 500))
    _delete_old(kept.parent)
    return Traced(
        request=request.id,
        verdict="done",
        steps=written.steps,
        text=written.text,
        file=str(kept),
        size=size,
        summary=summary,
    )


def _name(command: ProfileCommand) -> str:
    """A file name of the request's own; its id comes from a user."""
    return "trace-" + "".join(letter for letter in command.id if letter.isalnum())[:32]


def _why_waiting(phase: Phase, seconds: float) -> str:
    if phase is Phase.PAUSED:
        return "the run is paused: recording goes on when it does"
    if phase is Phase.TRAINING:
        return f"no step has ended for {seconds:.0f} s: the training waits for data, or hangs (key k shows where)"
    return f"the run is in phase '{phase.value}': steps are recorded when training goes on"


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "the process that reads the trace was ended"


def _delete_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("trace-*.json.gz"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT]:
            file.unlink()
