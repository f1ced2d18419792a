"""Strict loading of a state dict: only the classifier may differ; anything else is named with its count."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from gputrain.engine.common.sanitize import plain

_NAMED = 3
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Auxiliary classifiers of GoogLeNet and Inception, which are trained without them here."""


class Match(NamedTuple):
    """How a state dict fits a model."""

    fitting: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    """``name: shape in the file, shape in the model``; integers for real numbers count, too."""
    random: tuple[str, ...]
    """Names of all tensors of the model that the file does not fill, those of the classifier included."""
    total: int

    @property
    def is_complete(self) -> bool:
        """Whether only the classifier differs."""
        return bool(self.fitting) and not (self.missing or self.unexpected or self.reshaped)


def match(network: nn.Module, state: Mapping[str, torch.Tensor], outputs: int | None) -> Match:
    """Compare `state` with `network`, whose classifier has `outputs` outputs; None: it must fit, too."""
    own = network.state_dict()
    tensors = {name: value for name, value in own.items() if isinstance(value, torch.Tensor)}
    heads = () if outputs is None else classifier_modules(network, outputs)
    fitting = [name for name, value in tensors.items() if name in state and _fits(state[name], value)]
    filled = frozenset(fitting)
    # Files of torch before 0.4.1 have no counters of batches, which no result depends on.
    random = [name for name in tensors if name not in filled and not name.endswith("num_batches_tracked")]
    rest = [name for name in random if not _within(name, heads)]
    return Match(
        fitting=tuple(fitting),
        missing=tuple(name for name in rest if name not in state),
        unexpected=tuple(
            n for n in state if n not in tensors and not _within(n, heads) and not n.startswith(_AUXILIARY)
        ),
        reshaped=tuple(
            f"{name}: {_kind(state[name])} in the file, {_kind(tensors[name])} in the model"
            for name in rest
            if name in state
        ),
        random=tuple(random),
        total=len(tensors),
    )


def _fits(stored: torch.Tensor, own: torch.Tensor) -> bool:
    # Weights of a network quantized to integers have the shapes of the original ones.
    return stored.shape == own.shape and (stored.is_floating_point() or not own.is_floating_point())


def _kind(tensor: torch.Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" {str(tensor.dtype).removeprefix('torch.')}"
    return f"{tuple(tensor.shape)}{kind}"


def _within(name: str, modules: Collection[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def classifier_modules(network: nn.Module, outputs: int) -> tuple[str, ...]:
    """Names of the modules that make the outputs; empty if the last layer has another number of outputs."""
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") if isinstance(config, Mapping) else None
    if named:
        return (named,) if isinstance(named, str) else tuple(named)
    last, size = "", None
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            last, size = name, module.out_features
        elif isinstance(module, nn.Conv2d):
            last, size = name, module.out_channels
    return (last,) if last and size == outputs else ()


def explain(found: Match) -> str:
    """What differs, with counts and some names."""
    parts = [
        _counted(found.missing, "missing in the file"),
        _counted(found.reshaped, "of another shape"),
        _counted(found.unexpected, "not in the model"),
    ]
    return "; ".join(part for part in parts if part)


def _counted(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} tensors {what} ({', '.join(plain(name, 120) for name in names[:_NAMED])}{more})"


def load(network: nn.Module, state: Mapping[str, torch.Tensor], found: Match) -> None:
    """Copy the fitting tensors into `network`; the others keep their values."""
    # The network's own dict: its version metadata would be lost in a new one, which MNASNet refuses.
    full = network.state_dict()
    full.update({name: state[name] for name in found.fitting})
    network.load_state_dict(full)
