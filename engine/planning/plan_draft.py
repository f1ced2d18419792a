"""Settings on their way to a plan: from several places, with what is noted, changed and refused on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from gputrain.engine.hardware.machine import GpuInfo, Machine

WORKER_SHARE = 0.75
"""Share of the usable cores that data workers should leave to others at most (seed 003: 12 of 16)."""


class SettingsLayer(Struct, frozen=True):
    """Values from one place; a later layer wins over an earlier one."""

    origin: str
    """The place in words: ``recipe demo``, ``preset balanced``, ``you``."""
    values: Mapping[str, Any]
    source: str = ""
    """Where the place has its numbers from."""
    own: bool = False
    """True for what the person asked for."""
    worker_share: float = WORKER_SHARE
    """Share of the usable cores to which this layer's num_workers is cut."""


@dataclass(slots=True)
class PlanDraft:
    """Settings on their way to a plan."""

    values: dict[str, Any]
    layers: dict[str, SettingsLayer]
    """The layer that gave each setting; what is missing has its default."""
    machine: Machine
    gpu: GpuInfo | None
    """The GPU that would be trained on."""
    notes: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    adjustments: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    estimated: list[str] = field(default_factory=list)
    """Those of the refusals that rest on an estimate."""

    def change(self, name: str, value: object, why: str) -> None:
        """Use `value` instead. A default is changed without a word outside its row."""
        self.values[name] = value
        self.notes[name] = why
        self.changed.add(name)
        if name in self.layers:
            (self.warnings if self.layers[name].own else self.adjustments).append(f"{name}: {why}")

    def weigh(self, what: str, refuse: bool, advice: str) -> None:
        """Warn of an estimate of memory, or refuse for it, with what mends it."""
        text = f"{what}: {advice}"
        (self.refusals if refuse else self.warnings).append(text)
        if refuse:
            self.estimated.append(text)

    def is_own(self, name: str) -> bool:
        """True when the person asked for the present value."""
        return name in self.layers and self.layers[name].own
