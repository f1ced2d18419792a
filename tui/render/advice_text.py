"""Formats hints: predicted effects, setting changes, and results of live changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import per_second
from gputrain.engine.events import Hint, Prediction, Tuned
from gputrain.tui.render.format import rate


def promise(prediction: Prediction) -> str:
    """The predicted effect of a change: ``1 090–1 240 img/s, then the device limits``."""
    if prediction.high is None:
        return f"no prediction: {plain(prediction.void, 200)}"
    now = f"{rate(prediction.now)} → " if prediction.now is not None else ""
    counted = " including its stops" if prediction.stops else ""
    limits = f"{plain(prediction.limiter, 60)} limit{'' if prediction.limiter.endswith('s') else 's'}"
    return f"{now}{rate(prediction.low)}–{rate(prediction.high)} {per_second(prediction.unit)}{counted}, then {limits}"


def settings_words(values: Mapping[str, Any]) -> str:
    """Settings as on the command line: ``num_workers=8 prefetch_factor=4``."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return plain(" ".join(f"{name}={value}" for name, value in shown.items()), 300)


def skipped_hints(hints: Iterable[Hint]) -> str:
    """The hints that key `a` skips, and why: settings for the next run, or no setting at all."""
    return ". ".join(_skip_reason(hint) for hint in hints if hint.severity != "info" or hint.changes)


def _skip_reason(hint: Hint) -> str:
    title = plain(hint.title, 100)
    if not hint.changes:
        return f"{title}: no setting fixes this"
    return f"{title}: only for the next run, because it changes training or checkpoints: {settings_words(hint.changes)}"


def verdict(event: Tuned) -> str:
    """The result of a live change."""
    asked, was = settings_words(event.changes), settings_words(event.was)
    predicted = f"; predicted: {promise(event.prediction)}" if event.prediction is not None else ""
    match event.verdict:
        case "trying":
            return f"trying {asked} (was {was}){predicted}"
        case "kept":
            return f"kept {asked}: {_gain(event)}{predicted}"
        case "reverted":
            return f"reverted to {was}: with {asked} {_gain(event)}{predicted}"
    return f"{asked or 'nothing'} not changed: {plain(event.text, 300)}"


def _gain(event: Tuned) -> str:
    if not event.before or event.after is None:
        return "not measured"
    gain = 100 * (event.after / event.before - 1)
    return f"{rate(event.before)} → {rate(event.after)} {per_second(event.unit)} ({gain:+.0f} %)"
