"""Loads pretrained weights into a model: from a file, or torchvision's by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.model_catalog import torchvision_models
from gputrain.engine.training.models import position_embeddings, state_dict_names, strict_loading
from gputrain.engine.training.models.weights_file import WeightsFile, read_weights

Notice = Callable[[str, str], None]
"""Gets level and text of a message for the user."""


class Prepared(NamedTuple):
    """A state dict compared with a model."""

    state: dict[str, torch.Tensor]
    """By the names of the model."""
    found: strict_loading.Match
    notes: tuple[str, ...]
    """What was changed or chosen, for display."""


def load_file(
    network: nn.Module, path: Path, model: str, outputs: int, notice: Notice, *, strict: bool = True
) -> WeightsFile:
    """Load a file of weights (see `weights_file`) and report what was loaded; returns the content of the file.

    Raises BadInput if anything but the classifier differs; with `strict` False only if nothing fits.
    """
    file = read_weights(path)
    _load(network, file.tensors, (model, str(path)), outputs, notice, strict=strict, notes=notes_of(file))
    return file


def notes_of(file: WeightsFile) -> tuple[str, ...]:
    """The kind of a file, and where its state dict is."""
    if not file.origin:
        return (file.form,)
    return (file.form, f"{'EMA weights, ' if file.ema else ''}key {plain(file.origin, 60)}")


def load_named(
    network: nn.Module, model: str, weights: str, outputs: int, notice: Notice, *, strict: bool = True
) -> None:
    """Load torchvision's `weights` of `model`, downloaded if necessary. Raises BadInput."""
    state = torchvision_weights(model, weights)
    _load(network, state, (model, weights), outputs, notice, strict=strict)


def _load(
    network: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    names: tuple[str, str],
    outputs: int,
    notice: Notice,
    *,
    strict: bool,
    notes: tuple[str, ...] = (),
) -> None:
    model, source = names
    made = prepare(network, tensors, source, outputs, strict=strict)
    if fault := why_unfit(made.found, model, source, strict=strict):
        raise BadInput(fault)
    strict_loading.load(network, made.state, made.found)
    level = "info" if made.found.is_complete else "warning"
    notice(level, f"weights: {summary(made, model, source, notes)}")


def prepare(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], source: str, outputs: int, *, strict: bool
) -> Prepared:
    """Convert `tensors` for `network` and compare them. Drops those with NaN or Inf; if `strict` raises BadInput."""
    broken = nonfinite_names(tensors)
    if broken and strict:
        raise BadInput(nonfinite(broken, source))
    tensors = {name: tensor for name, tensor in tensors.items() if name not in broken}
    state, notes = convert(network, tensors, source)
    dropped = (f"without {len(broken)} tensors with NaN or Inf",) if broken else ()
    return Prepared(state, strict_loading.match(network, state, outputs), (*notes, *dropped))


def summary(made: Prepared, model: str, source: str, notes: tuple[str, ...]) -> str:
    """How many tensors come from the weights, how they were changed, and which stay random."""
    found = made.found
    how = "; ".join((*notes, *made.notes))
    random = ", ".join(plain(name, 60) for name in found.random[:4]) + (", …" if len(found.random) > 4 else "")
    stays = f"; {len(found.random)} stay random: {random}" if found.random else ""
    return (
        f"{len(found.fitting)} of {found.total} tensors of {plain(model, 60)} from {plain(source, 200)}"
        f"{f' ({how})' if how else ''}{stays}"
    )


def nonfinite_names(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors with NaN or Inf."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.is_meta and not _is_finite(tensor)
    ]


def _is_finite(tensor: torch.Tensor) -> bool:
    # torch cannot test numbers of 8 bits.
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def nonfinite(names: Sequence[str], source: str) -> str:
    """Error message for tensors with NaN or Inf."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"weights: {plain(source, 200)} has NaN or Inf in {len(names)} tensors "
        f"({', '.join(plain(name, 120) for name in names[:3])}{more}); use other weights, or set weights_strict=false, "
        "which leaves them random"
    )


def convert(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """`tensors` with the names and shapes of `network`, as far as they can be converted; and what was done."""
    wanted = network.state_dict()
    renamed = state_dict_names.rename(tensors, wanted, source)
    before = state_dict_names.apply(renamed, tensors)
    state = position_embeddings.adapt(network, before)
    notes = (f"prefix '{plain(renamed.prefix, 60)}' removed",) if renamed.prefix else ()
    resized = [
        f"{plain(name, 60)} {_shape(before[name])} → {_shape(tensor)}"
        for name, tensor in state.items()
        if name in before and tensor.shape != before[name].shape
    ]
    if resized:
        more = f" and {len(resized) - 1} more" if len(resized) > 1 else ""
        notes = (*notes, f"interpolated to the image size: {resized[0]}{more}")
    return state, notes


def _shape(tensor: torch.Tensor) -> str:
    return " × ".join(str(length) for length in tensor.shape)


def why_unfit(found: strict_loading.Match, model: str, source: str, *, strict: bool) -> str:
    """Why weights are refused; empty if they are not."""
    place, name = plain(source, 200), plain(model, 60)
    if not found.fitting:
        return f"weights: {place} fits none of the {found.total} tensors of {name}: it is of another model"
    if found.is_complete or not strict:
        return ""
    return (
        f"weights: {place} does not fit {name}: {strict_loading.explain(found)}; choose the model that the file was "
        f"saved from, or set weights_strict=false, which leaves "
        f"{len(found.random)} of {found.total} tensors random"
    )


def torchvision_weights(model: str, weights: str) -> dict[str, Any]:
    """torchvision's weights called `weights` for its `model`, downloaded unless they are cached. Raises BadInput."""
    chosen = weights_entry(model, weights)
    try:
        state: dict[str, Any] = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"weights: {plain(weights, 100)} cannot be downloaded ({plain(str(error), 200)}); "
            f"download {chosen.url} elsewhere and name the file: weights=/path/to/file.pth"
        ) from None
    return state


def weights_entry(model: str, weights: str) -> Any:
    """The member of torchvision's weights enum of `model` called `weights`. Raises BadInput."""
    from torchvision import models  # see `create_model`

    known = models.get_model_weights(model)
    names = tuple(member.name for member in known)
    # ResNet50_Weights.DEFAULT is how the documentation writes it.
    wanted = weights.removeprefix(f"{known.__name__}.")
    if wanted not in known.__members__:
        raise BadInput(torchvision_models.unknown_weights(model, weights, names))
    return known[wanted]
