"""Advice and what became of it, in words: promises, changes, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Hint, Prediction, Tuned
from gputrain.tui.render.format import rate


def promise(prediction: Prediction) -> str:
    """What a change is expected to bring: ``1 090–1 240 img/s, then the device limits``."""
    if prediction.high is None:
        return f"no figure: {plain(prediction.void, 200)}"
    now = f"{rate(prediction.now)} → " if prediction.now is not None else ""
    counted = " with its stops counted" if prediction.stops else ""
    limits = f"{plain(prediction.limiter, 60)} limit{'' if prediction.limiter.endswith('s') else 's'}"
    return f"{now}{rate(prediction.low)}–{rate(prediction.high)} img/s{counted}, then {limits}"


def settings_words(values: Mapping[str, Any]) -> str:
    """``num_workers=8 prefetch_factor=4``, as the command line takes them."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return plain(" ".join(f"{name}={value}" for name, value in shown.items()), 300)


def set_aside(hints: Iterable[Hint]) -> str:
    """What key `a` does not try, and why: what is wrong, and the settings for the next run where there are any."""
    return ". ".join(_aside(hint) for hint in hints if hint.severity != "info" or hint.changes)


def _aside(hint: Hint) -> str:
    title = plain(hint.title, 100)
    if not hint.changes:
        return f"{title}: no setting mends that"
    return f"{title}: for the next run, as it changes the training or what is saved: {settings_words(hint.changes)}"


def verdict(event: Tuned) -> str:
    """What became of a change of the running training."""
    asked, was = settings_words(event.changes), settings_words(event.was)
    promised = f"; promised: {promise(event.prediction)}" if event.prediction is not None else ""
    match event.verdict:
        case "trying":
            return f"trying {asked} (was {was}){promised}"
        case "kept":
            return f"kept {asked}: {_gain(event)}{promised}"
        case "reverted":
            return f"back to {was}: with {asked} {_gain(event)}{promised}"
    return f"{asked or 'nothing'} not changed: {plain(event.text, 300)}"


def _gain(event: Tuned) -> str:
    if not event.before or event.after is None:
        return "not measured"
    return f"{rate(event.before)} → {rate(event.after)} img/s ({100 * (event.after / event.before - 1):+.0f} %)"
