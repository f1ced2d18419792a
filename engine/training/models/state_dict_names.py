"""Maps the names in a state dict to a model's: removes prefixes of wrappers, renames old names of torchvision."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

T = TypeVar("T")

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Modules that torch.compile, FSDP, gradient checkpointing and Lightning put around modules at any depth."""
_PREFIXES = ("module.", "model.", "net.", "network.", "_model.", "state_dict.")
"""Wrappers of a whole network, removed even if no name fits."""
_EMA = re.compile(r"(^|[._])(ema|averaged?)")
_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
"""Names before torchvision 0.3, as in torchvision.models.densenet; and of batch norm's counters, which those lack."""
_VIT_MLP = {"mlp.linear_1.": "mlp.0.", "mlp.linear_2.": "mlp.3."}
"""Names of torchvision's MLPBlock before version 2."""
_BOOKKEEPING = ("n_averaged", "total_ops", "total_params")
"""Buffers that AveragedModel and the FLOP counter thop add."""


class Renamed(NamedTuple):
    """Entries of a state dict by the names of a model."""

    prefix: str
    """Prefix that was removed; entries without it belong to something else than the model."""
    names: dict[str, str]
    """Name in the model → name in the file."""


def rename(names: Collection[str], wanted: Collection[str], source: str) -> Renamed:
    """Map the `names` of a file to the `wanted` names of a model; names that fit nothing are kept.

    Raises BadInput if the file has several networks that fit equally well.
    """
    found = {_without_wrappers(name): name for name in names if name.rpartition(".")[2] not in _BOOKKEEPING}
    wanted = frozenset(wanted)
    prefix = _prefix(found, wanted, source)
    found = {name.removeprefix(prefix): old for name, old in found.items() if name.startswith(prefix)}
    return Renamed(prefix, {_current_name(name, wanted): old for name, old in found.items()})


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _current_name(name: str, wanted: frozenset[str]) -> str:
    if name in wanted:
        return name
    new = name
    if match := _DENSENET.match(name):
        new = match[1] + match[2]
    for old, current in _VIT_MLP.items():
        new = new.replace(old, current)
    return new if new in wanted else name


def _prefix(names: Mapping[str, str], wanted: frozenset[str], source: str) -> str:
    """The prefix without which most names are wanted ones."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for depth in range(len(parts)):
            if _current_name(".".join(parts[depth:]), wanted) in wanted:
                counts[".".join(parts[:depth]) + "." if depth else ""] += 1
    most = max(counts.values(), default=0)
    if not most:
        return _known_prefix(names)
    best = [prefix for prefix, count in counts.items() if count == most]
    if "" in best or len(best) == 1:
        return "" if "" in best else best[0]
    averaged = [prefix for prefix in best if _EMA.search(prefix.rstrip("."))]
    if len(averaged) == 1:
        return averaged[0]
    listed = ", ".join(plain(prefix.rstrip("."), 40) for prefix in sorted(best))
    raise BadInput(
        f"weights: {source} contains several networks of this model ({listed}); save the state dict of one alone"
    )


def _known_prefix(names: Mapping[str, str]) -> str:
    prefix, rest = "", list(names)
    while rest and (known := next((p for p in _PREFIXES if all(name.startswith(p) for name in rest)), None)):
        prefix, rest = prefix + known, [name.removeprefix(known) for name in rest]
    return prefix


def apply(renamed: Renamed, tensors: Mapping[str, T]) -> dict[str, T]:
    """The entries of `tensors` by the model's names."""
    return {name: tensors[old] for name, old in renamed.names.items()}
