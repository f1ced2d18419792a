"""What would end a run in its first seconds, found before it starts: data, models, weights, a person's own functions.

Without torch, and a glance only: what nothing here speaks against may still fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gputrain.engine import engines, kerasfit, modelnames, ownsource
from gputrain.engine.layouts import missing_data


def faults(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Why a run of the settings `values`, checked ones, could not begin."""
    found = [
        engines.why_missing(values["engine"]),
        *missing_data(values),
        _own_data(values),
        _model(values),
        _weights(values),
    ]
    return tuple(fault for fault in found if fault)


def _own_data(values: Mapping[str, Any]) -> str:
    if values["dataset"] != "custom":
        return ""
    if not values["custom"]:
        return ownsource.UNSET
    return ownsource.why_no_function(values["custom"], values["code_dir"], "custom")


def _model(values: Mapping[str, Any]) -> str:
    name = values["model"]
    if engines.is_keras(values):
        return kerasfit.why_no_model(name)
    if ownsource.is_spec(name):
        return ownsource.why_no_function(name, values["code_dir"], "model")
    return modelnames.why_no_model(name)


def _weights(values: Mapping[str, Any]) -> str:
    weights = values["weights"]
    # A checkpoint brings its own weights.
    if not weights or values["resume_from"]:
        return ""
    is_file = Path(weights).expanduser().is_file()
    if engines.is_keras(values):
        return kerasfit.why_no_weights(values["model"], weights, is_file=is_file)
    if is_file:
        return ""
    return modelnames.why_no_weights(values["model"], weights)
