"""Names of models and weights of the installed torchvision, read from its sources without importing torch.

For timm it only checks whether it is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.model_catalog.activation_memory import cost_of

OWN = ("simple_cnn",)
TIMM = "timm/"
TIMM_WEIGHTS = "DEFAULT"
"""Value of `weights` for timm's own weights of a model."""

_REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(\s*(?:\*,\s*weights: Optional\[(\w+)\])?", re.M)
_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n)+)", re.M)
_MEMBER = re.compile(r"^    (\w+) = ", re.M)


def why_no_model(name: str) -> str:
    """Why there is no model of that name; empty if there is one, or if unknown. Not for a user's function."""
    if name.startswith(TIMM):
        if importlib.util.find_spec("timm") is None:
            return f"model: {plain(name, 60)} needs timm, which is not installed: pip install 'gputrain-tui[timm]'"
        return ""
    known = _torchvision_models()
    if name in OWN or cost_of(name) is not None or not known or name in known:
        return ""
    return unknown_model(name, known)


def unknown_model(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Error message for a model that is not among torchvision's `known` ones."""
    return (
        f"model: there is no '{plain(name, 60)}'{did_you_mean(name, [*OWN, *known])}; "
        f"models of timm are written {TIMM}NAME"
    )


def why_no_weights(model: str, weights: str) -> str:
    """Why `weights`, which is not a file, is not a weights name of the model; empty if it is, or if unknown."""
    if not weights:
        return ""
    if model in OWN or ":" in model:
        return f"weights: no file '{plain(weights, 200)}', and {plain(model, 100)} has no weights by name"
    if model.startswith(TIMM):
        if weights == TIMM_WEIGHTS:
            return ""
        return (
            f"weights: no file '{plain(weights, 200)}'; "
            f"for timm's own weights of {plain(model.removeprefix(TIMM), 60)} use weights={TIMM_WEIGHTS}"
        )
    kind, names = _torchvision_models().get(model, ("", ()))
    # ResNet50_Weights.DEFAULT is how the documentation writes it.
    wanted = weights.removeprefix(f"{kind}.")
    return unknown_weights(model, weights, names) if kind and wanted not in names else ""


def unknown_weights(model: str, weights: str, names: tuple[str, ...]) -> str:
    """Error message for weights that are not among torchvision's `names` for a model."""
    others = [name for name in names if name != "DEFAULT"]
    there = f"torchvision has {', '.join([*others, 'DEFAULT'])}" if others else "torchvision has none for it"
    near = did_you_mean(weights.rpartition(".")[2], others)
    return f"weights: no file '{plain(weights, 200)}', and {model} has no weights of that name{near} ({there})"


@functools.cache
def _torchvision_models() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """torchvision's classification models, each with class and names of its weights; empty if unreadable."""
    spec = importlib.util.find_spec("torchvision")
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place, "models").glob("*.py")):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeError):
                return {}
            kinds = {kind: tuple(_MEMBER.findall(body)) for kind, body in _WEIGHTS.findall(text)}
            found |= {name: (kind, kinds.get(kind, ())) for name, kind in _REGISTERED.findall(text)}
    return found
