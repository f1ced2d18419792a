"""``python -P -m gputrain.engine.alerts RUN_DIR OFFSET``: sends the alerts of one run, as a process of its own.

It reads the record from byte OFFSET on, so that the events before a resume cause no alert again, and outlives the
supervisor: a killed one is an alert, too. Each line on standard output is a failed delivery, as text.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.alert_rules import AlertRules
from gputrain.engine.alerts.alert_settings import read_alert_settings
from gputrain.engine.alerts.delivery import Delivery, RateLimit, targets
from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FINISHED, BadInput
from gputrain.engine.events import RunEnded
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.runs import follow_events, run_names
from gputrain.engine.runs.run_directory import RunDir

_DISK_SECONDS = 30.0
_LAST_SECONDS = 120.0
"""How long deliveries may take after the run has ended."""
_NICENESS = 10


def main(directory: str, offset: str) -> int:
    """Send the alerts of the run in `directory`; returns an exit code of `gputrain.engine.common.errors`."""
    # They were blocked until now. The user's command would inherit that, and no `timeout` of its could end anything.
    for number in scheduler_signals.STOPPING:
        signal.signal(number, lambda *_: None)
    scheduler_signals.received()
    os.nice(_NICENESS)  # training comes first
    run = RunDir(Path(directory))
    try:
        settings = read_alert_settings()
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    delivery, limit = Delivery(list(targets(settings)), _print_failure), RateLimit(settings)
    rules = AlertRules(settings, run.id, run_names.given_name(run.directory), time.monotonic())
    for alert in _alerts(run, rules, int(offset)):
        if limit.passes(alert, time.monotonic()):
            delivery.put(msgspec.structs.replace(alert, time=time.time()))
    delivery.wait(_LAST_SECONDS)
    return EXIT_FINISHED


def _alerts(run: RunDir, rules: AlertRules, offset: int) -> Iterator[Alert]:
    """All alerts until the run has no supervisor any more."""
    ended, checked = False, float("-inf")
    for found in follow_events.batches(run, offset):
        for event in found:
            ended = isinstance(event, RunEnded)
            yield from rules.feed(event, time.monotonic())
        now = time.monotonic()
        free = None
        if now - checked > _DISK_SECONDS:
            checked = now
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(run.directory).free
        yield from rules.tick(now, free)
    if not ended:
        yield rules.died()


def _print_failure(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    # The supervisor may have ended.
    with contextlib.suppress(OSError):
        os.write(1, text.encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
