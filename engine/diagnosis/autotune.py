"""Which advice a run takes by itself: what leaves the losses bit for bit, one after the other, none twice. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gputrain.engine.commands import EXACT_SETTINGS, LIVE_SETTINGS, Tune
from gputrain.engine.events import AnyEvent, Hint, Tuned

SENDER = "autotune"
_FOR_MEMORY = frozenset({"ram-pressure", "shm-full", "oversubscribed"})


def tune_of(hint: Hint, sender: str, allowed: Collection[str] = LIVE_SETTINGS) -> Tune | None:
    """The command that puts a hint into effect; None where that would change more than `allowed`."""
    if not hint.changes or not hint.changes.keys() <= set(allowed):
        return None
    aim = "memory" if hint.id in _FOR_MEMORY else "speed"
    return Tune(changes=hint.changes, promised=hint.prediction, aim=aim, sender=sender)  # type: ignore[arg-type]


class Autotune:
    """Remembers what was tried."""

    def __init__(self) -> None:
        self._tried: list[dict[str, object]] = []
        self._trying = False

    def feed(self, event: AnyEvent) -> None:
        """Learn from one event."""
        if isinstance(event, Tuned):
            self._trying = event.verdict == "trying"
            self._tried.append(event.changes)

    def next(self, hints: Iterable[Hint]) -> Tune | None:
        """The first advice that can be taken and was not tried yet; None while another is being tried."""
        if self._trying:
            return None
        for hint in hints:
            tune = tune_of(hint, SENDER, EXACT_SETTINGS)
            if tune is not None and hint.changes not in self._tried:
                self._tried.append(hint.changes)
                return tune
        return None
