"""The draft of a plan: settings merged from several layers, with notes, changes, warnings and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from gputrain.engine.estimates.worker_limit import WORKER_SHARE
from gputrain.engine.hardware.machine import GpuInfo, Machine


class SettingsLayer(Struct, frozen=True):
    """Settings from one origin; a later layer overrides an earlier one."""

    origin: str
    """The origin in words: ``recipe demo``, ``preset balanced``, ``you``."""
    values: Mapping[str, Any]
    source: str = ""
    """Source of the numbers."""
    own: bool = False
    """True for the user's own values."""
    worker_share: float = WORKER_SHARE
    """Share of the usable cores that limits this layer's num_workers."""


@dataclass(slots=True)
class PlanDraft:
    """The draft of a plan."""

    values: dict[str, Any]
    layers: dict[str, SettingsLayer]
    """The layer of each setting; a setting without one has its default."""
    machine: Machine
    gpu: GpuInfo | None
    """The GPU that the run would use; None: it would train on the CPU."""
    notes: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    adjustments: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    estimated: list[str] = field(default_factory=list)
    """Those of `refusals` that rest on an estimate of memory."""

    def change(self, name: str, value: object, why: str) -> None:
        """Use `value` instead, because of `why`: a warning for the user's own value, an adjustment for a layer's."""
        self.values[name] = value
        self.notes[name] = why
        self.changed.add(name)
        if name in self.layers:
            (self.warnings if self.layers[name].own else self.adjustments).append(f"{name}: {why}")

    def add_estimate(self, what: str, refuse: bool, advice: str) -> None:
        """Add a warning, or with `refuse` a refusal, that rests on an estimate of memory."""
        text = f"{what}: {advice}"
        (self.refusals if refuse else self.warnings).append(text)
        if refuse:
            self.estimated.append(text)

    def is_own(self, name: str) -> bool:
        """True when the present value is the user's own."""
        return name in self.layers and self.layers[name].own
