"""Learning-rate advice for a changed batch size: linear scaling, as in the plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gputrain.engine.diagnosis.tree import Fix
from gputrain.engine.estimates.updates_per_epoch import update_counts

_NEEDED = {"batch_size", "accumulation_steps", "lr", "lr_batch_size"}
_MOST = 100.0
"""Largest value that the setting `lr` takes."""


def with_lr(fix: Fix, settings: Mapping[str, Any]) -> Fix:
    """`fix` with the new learning rate, if it changes batch_size.

    The action names the new rate. Where lr_batch_size is 0, so that nothing scales ``lr``, the changes set it too.
    """
    if "batch_size" not in fix.changes:
        return fix
    changes = dict(fix.changes)
    if settings.keys() >= _NEEDED and not settings["lr_batch_size"]:
        changes["lr"] = _in_proportion(settings, changes["batch_size"])
    return msgspec.structs.replace(
        fix, action=f"{fix.action} {_sentence(settings, changes['batch_size'])}", changes=changes
    )


def _in_proportion(settings: Mapping[str, Any], batch: int) -> float:
    return min(_MOST, float(f"{settings['lr'] * batch / settings['batch_size']:.4g}"))


def _sentence(settings: Mapping[str, Any], batch: int) -> str:
    if not settings.keys() >= _NEEDED:
        return "Scale the learning rate with the batch size."
    if not settings["lr_batch_size"]:
        return (
            f"Also set lr={_in_proportion(settings, batch):g} instead of {settings['lr']:g}: lr_batch_size=0 turns the "
            "automatic scaling off."
        )
    now, then = (update_counts({**settings, "batch_size": size}).scaled_lr for size in (settings["batch_size"], batch))
    return (
        f"The learning rate is scaled automatically, {now:.4g} → {then:.4g} "
        f"(lr_batch_size={settings['lr_batch_size']})."
    )
