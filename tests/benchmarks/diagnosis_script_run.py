"""One script under ``exec``: its events, the verdict of the program's Advisor, and the change that the hint proposes.

The command, its supervisor, the probe in the script and the change of its loader are those of the program. Only the
Advisor's windows are shorter, as for the traces of our own trainer.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from unittest import mock

from diagnosis_machine import Unavailable, beside, injected, served
from diagnosis_script_cases import ScriptSetup, command
from diagnosis_trial import Trial
from diagnosis_verdict import Rate

from gputrain.engine.diagnosis import advisor
from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.autotune import tune_command
from gputrain.engine.diagnosis.windows import event_window
from gputrain.engine.diagnosis.windows.event_window import EventWindow
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import AnyEvent, HardwareSample, Hint, RunEnded, Steps, Tuned
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.launching.launch_script import launch_script
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.user_script.script_command import ScriptCommand

WINDOW = 3.0
"""Seconds of a window; the program's are of 12."""
_JUDGED = 3
"""Windows that are judged; a hint needs two in a row."""
OTHERS = frozenset({"cpu-neighbour", "cpu-contention"})
"""Hints that name other programs."""
_START_SECONDS, _TRIAL_SECONDS, _END_SECONDS = 90.0, 45.0, 20.0
_TRAINING_SECONDS = 300.0
"""The script ends by itself if nobody stops it."""


@dataclass
class Watched:
    """What became of a script."""

    signals: Signals | None = None
    hints: tuple[Hint, ...] = ()
    raised: frozenset[str] = frozenset()
    foreign: list[float] = field(default_factory=list)
    """Cores that other programs used, by sample."""
    trial: Trial | None = None
    untried: str = ""
    why: str = ""
    """Why there is no verdict."""


class _Watch:
    """Reads the events of a run while it goes on."""

    def __init__(self, run: RunDir) -> None:
        self._attachment = launch.attach(run)
        self.found = Watched()
        self._raised: set[str] = set()
        self._adviser = Advisor()
        self._steps = 0

    def judge(self) -> None:
        """Until `_JUDGED` windows were judged."""
        judged, seen, until = 0, None, time.monotonic() + _START_SECONDS
        while judged < _JUDGED:
            if time.monotonic() > until:
                self.found.why = f"only {judged} windows after {_START_SECONDS:.0f} s, {self._steps} steps"
                return
            for event in self._attachment.read():
                if isinstance(event, RunEnded):
                    self.found.why = f"the script ended: {event.reason}"
                    return
                self._take(event)
                if self._adviser.signals is not seen:
                    seen, judged = self._adviser.signals, judged + 1
        self.found.signals, self.found.hints = seen, self._adviser.hints()
        self.found.raised = frozenset(self._raised)

    def _take(self, event: AnyEvent) -> None:
        self._adviser.feed(event)
        self._raised |= {hint.id for hint in self._adviser.hints()}
        if isinstance(event, HardwareSample) and event.foreign_cpu is not None:
            self.found.foreign.append(event.foreign_cpu)
        if isinstance(event, Steps):
            self._steps = event.step

    def try_hint(self) -> None:
        """Let the running script take what the first hint proposes, as the key `a` does."""
        found = self.found
        if not found.hints or found.signals is None:
            return
        # Other programs that do run beside a trace are named first, and nothing in the script changes that.
        hint = next((one for one in found.hints if one.id not in OTHERS), found.hints[0])
        tune = tune_command(hint, "")
        if tune is None:
            found.untried = "no setting is proposed"
            return
        self._attachment.send(tune)
        until = time.monotonic() + _TRIAL_SECONDS
        while time.monotonic() < until:
            for event in self._attachment.read():
                if isinstance(event, Tuned) and event.verdict != "trying":
                    self._learn(event, hint)
                    return
                if isinstance(event, RunEnded):
                    found.untried = f"the script ended: {event.reason}"
                    return
        found.untried = f"no result after {_TRIAL_SECONDS:.0f} s"

    def _learn(self, event: Tuned, hint: Hint) -> None:
        if event.before is None or event.after is None:
            self.found.untried = f"{event.verdict}: {event.text}"
            return
        promise = hint.prediction
        middle = None
        if promise is not None and promise.low is not None and promise.high is not None:
            middle = (promise.low + promise.high) / 2
        void = promise.void if promise is not None else ""
        self.found.trial = Trial(hint.changes, Rate(event.before, 0.0), Rate(event.after, 0.0), middle, void)

    def end(self) -> None:
        """Stop the run and wait for its end."""
        with contextlib.suppress(NotLiveError):
            self._attachment.send(StopCommand(checkpoint=False))
        until = time.monotonic() + _END_SECONDS
        while not (self._attachment.ended or self._attachment.abandoned) and time.monotonic() < until:
            self._attachment.read()
        self._attachment.close()
        launch.wait_for_exit(self._attachment.run)


@contextlib.contextmanager
def _short_windows() -> Iterator[None]:
    part = WINDOW / event_window.WINDOW_SECONDS
    window = functools.partial(
        EventWindow,
        seconds=WINDOW,
        warm_up=part * event_window.WARM_UP_SECONDS,
        least=part * event_window.LEAST_SECONDS,
    )
    with mock.patch.object(advisor, "EventWindow", window), mock.patch.object(advisor, "EVALUATE_EVERY", WINDOW):
        yield


@contextlib.contextmanager
def under(setup: ScriptSetup, folder: str) -> Iterator[tuple[str, str]]:
    """The machine's faults for what is started meanwhile: the folder of the images, and one for output.

    Raises Unavailable.
    """
    with (
        tempfile.TemporaryDirectory(prefix="gputrain-bench-") as out,
        served(folder, setup.machine) as images,
        beside(setup.machine),
        injected(setup.machine),
    ):
        yield images, out


def watch(python: str, framework: str, setup: ScriptSetup, folder: str) -> Watched:
    """Start the script under ``exec``, judge it, try the first hint's change, and stop it. Raises Unavailable."""
    with under(setup, folder) as (images, out), _short_windows():
        words = command(python, framework, setup, images, out, _TRAINING_SECONDS)
        script = ScriptCommand(argv=tuple(words), cwd=out)
        try:
            one = _Watch(launch_script(script, framework))
        except RuntimeError as error:
            raise Unavailable(str(error)) from None
        try:
            one.judge()
            one.try_hint()
        finally:
            one.end()
        return one.found
