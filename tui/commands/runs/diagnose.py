"""``gputrain-tui diagnose RUN``: finds the bottleneck of a run, live or finished, from its record."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import duration
from gputrain.engine.diagnosis.autotune import tune_command
from gputrain.engine.diagnosis.recorded_run_review import Finding, Review, review
from gputrain.engine.events import AnyEvent, Hint
from gputrain.engine.remote import reconnecting_attachment
from gputrain.engine.remote.reconnecting_attachment import RemoteAttachment
from gputrain.engine.runs import event_log, remote_name, run_directory
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.render.advice_text import promise, settings_words, verdict

_SIGNS = {"critical": "▲ critical", "warning": "▲ warning", "info": "● info"}
_TOO_SHORT = "too short to judge: needs 4 s of steps after the first 5 s"


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis."""
    try:
        found = _review(options.run)
    except OSError as error:
        return fail(error)
    if options.json:
        print(json.dumps(found.as_json()))
        return EXIT_FINISHED
    for line in verdict_lines(found, why=options.why):
        print(line)
    return EXIT_FINISHED


def _review(run_name: str) -> Review:
    remote = remote_name.parse(run_name)
    if remote is None:
        run = run_directory.find(run_name)
        return review(event_log.read(run.events), run.is_live)
    source = reconnecting_attachment.attach(remote)
    try:
        return review(_recorded(source), lambda: not source.abandoned)
    finally:
        source.close()


def _recorded(source: RemoteAttachment) -> Iterator[AnyEvent]:
    """The events recorded so far on another machine."""
    while not (source.caught_up or source.ended or source.abandoned):
        yield from source.read()


def verdict_lines(found: Review, *, why: bool) -> Iterator[str]:
    """The diagnosis as lines."""
    state = "ended" if found.ended else "live"
    judged = f"{duration(found.seconds)} of steps judged in {_windows(found.windows)}" if found.windows else _TOO_SHORT
    if not found.run_id:
        yield "the record contains no start of a run: nothing to judge"
        return
    yield f"{plain(found.run_id, 100)}: {state}, {judged}"
    for tried in found.tried:
        yield verdict(tried)
    if found.windows and not found.findings:
        yield "no bottleneck found"
    for one in found.findings:
        yield from _finding_lines(one, found, why=why)


def _windows(number: int) -> str:
    return f"{number} window" if number == 1 else f"{number} windows"


def _how_often(one: Finding, windows: int) -> str:
    return f"(in {one.windows} of {_windows(windows)})" if one.windows else "(at its end)"


def _how_to_apply(hint: Hint, run: str, *, ended: bool) -> str:
    """How to apply the settings: with a key in the dashboard of a live run, otherwise in a new run."""
    if not ended and tune_command(hint, "") is not None:
        return "key a in the dashboard tries this"
    return f"in a new run: gputrain-tui clone {plain(run, 100)} …"


def _finding_lines(one: Finding, found: Review, *, why: bool) -> Iterator[str]:
    hint, windows, run_id, ended = one.hint, found.windows, found.run_id, found.ended
    yield ""
    yield f"{_SIGNS[hint.severity]}: {plain(hint.title, 400)}  {_how_often(one, windows)}"
    yield f"  {plain(hint.evidence, 1000)}"
    yield f"  → {plain(hint.action, 1000)}"
    if hint.changes:
        yield f"  settings: {settings_words(hint.changes)} ({_how_to_apply(hint, run_id, ended=ended)})"
    if hint.prediction is not None:
        yield f"  expected: {promise(hint.prediction)}"
    yield f"  wrong if: {plain(hint.disproof, 400)}"
    if why:
        yield from (f"    {plain(line, 400)}" for line in hint.path)
