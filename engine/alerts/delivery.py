"""Delivers alerts: a queue and a thread for each target, so that a dead one delays no other."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gputrain.engine.alerts import local_targets, webhook
from gputrain.engine.alerts.alert import ENDS, Alert
from gputrain.engine.alerts.alert_settings import AlertSettings
from gputrain.engine.alerts.webhook import DeliveryError

_WAITING = 50
"""Most alerts that wait for one target."""


class Target(NamedTuple):
    """A place that gets alerts."""

    label: str
    """Its name in messages, without its address."""
    send: Callable[[Alert], None]
    """Delivers an alert, with retries. Raises DeliveryError."""


def targets(settings: AlertSettings) -> Iterator[Target]:
    """All targets of the settings."""
    if settings.command:
        yield Target("command", functools.partial(local_targets.run_command, settings.command))
    for number, hook in enumerate(settings.webhooks, 1):
        yield Target(f"webhook {number} ({hook.format})", functools.partial(webhook.post, hook))
    if settings.email:
        yield Target("email", functools.partial(local_targets.send_mail, settings.email))


class RateLimit:
    """At most one alert of a kind in some minutes; the ends of runs always pass."""

    def __init__(self, settings: AlertSettings) -> None:
        self._on = frozenset(settings.kinds)
        self._gap = settings.repeat_minutes * 60
        self._last: dict[str, float] = {}

    def passes(self, alert: Alert, now: float) -> bool:
        """Whether to deliver `alert`; `now` in seconds of any one clock."""
        if alert.kind not in self._on:
            return False
        if alert.kind not in ENDS and now - self._last.get(alert.kind, -self._gap) < self._gap:
            return False
        self._last[alert.kind] = now
        return True


class Delivery:
    """Sends alerts to all targets in the background."""

    def __init__(self, found: list[Target], on_failure: Callable[[str], None]) -> None:
        """`on_failure` gets a sentence, on a thread of the target."""
        self._on_failure = on_failure
        self._queues = {target.label: self._start(target) for target in found}

    def _start(self, target: Target) -> queue.Queue[Alert]:
        waiting: queue.Queue[Alert] = queue.Queue(_WAITING)
        threading.Thread(target=self._work, args=(target, waiting), name=target.label, daemon=True).start()
        return waiting

    def _work(self, target: Target, waiting: queue.Queue[Alert]) -> None:
        while True:
            alert = waiting.get()
            try:
                target.send(alert)
            except DeliveryError as error:
                self._on_failure(f"alert '{alert.kind}' was not delivered to {target.label}: {error}")
            except Exception as error:  # noqa: BLE001 - the next alert must find this thread; the text may be secret
                self._on_failure(f"alert '{alert.kind}' was not delivered to {target.label}: {type(error).__name__}")
            finally:
                waiting.task_done()

    def put(self, alert: Alert) -> None:
        """Deliver `alert`; never waits."""
        for waiting in self._queues.values():
            try:
                waiting.put_nowait(alert)
            except queue.Full:
                self._on_failure(f"alert '{alert.kind}' was dropped: {_WAITING} others wait for a target")

    def wait(self, seconds: float) -> bool:
        """Wait until all are delivered or given up; False if that takes longer: what is left then is a failure."""
        deadline = time.monotonic() + seconds
        while left := {label: waiting.unfinished_tasks for label, waiting in self._queues.items() if _is_open(waiting)}:
            if time.monotonic() > deadline:
                for label, count in left.items():
                    alerts = "1 alert was" if count == 1 else f"{count} alerts were"
                    self._on_failure(f"{alerts} not delivered to {label} within {seconds:.0f} s")
                return False
            time.sleep(0.05)
        return True


def _is_open(waiting: queue.Queue[Alert]) -> bool:
    """Whether an alert waits in the queue, or is being sent."""
    return waiting.unfinished_tasks > 0
