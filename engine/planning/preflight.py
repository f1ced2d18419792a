"""Preflight checks: missing data, unknown models or weights, user functions that do not exist. Without torch.

The checks are quick and not complete: a run that passes them may still fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common import files
from gputrain.engine.configuration import engine_choice, keras_compatibility
from gputrain.engine.datasets.layout_check import missing_data
from gputrain.engine.model_catalog import torchvision_models
from gputrain.engine.user_code import source_check


def preflight_problems(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Why a run with the (validated) settings `values` could not start, a message each; empty if nothing was found."""
    found = [
        engine_choice.why_missing(values["engine"]),
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
        return source_check.UNSET
    return source_check.why_no_function(values["custom"], values["code_dir"], "custom")


def _model(values: Mapping[str, Any]) -> str:
    name = values["model"]
    if engine_choice.is_keras(values):
        return keras_compatibility.why_no_model(name)
    if source_check.is_spec(name):
        return source_check.why_no_function(name, values["code_dir"], "model")
    return torchvision_models.why_no_model(name)


def _weights(values: Mapping[str, Any]) -> str:
    weights = values["weights"]
    # A checkpoint has its own weights.
    if not weights or values["resume_from"]:
        return ""
    is_file = files.expand_user(weights).is_file()
    if engine_choice.is_keras(values):
        return keras_compatibility.why_no_weights(values["model"], weights, is_file=is_file)
    if is_file:
        return ""
    return torchvision_models.why_no_weights(values["model"], weights)
