"""Types of hardware profiles and recipes.

A *hardware profile* describes how to use a machine: ``match`` recognizes it, ``settings`` apply to all presets, and
each of ``presets`` overrides some of them. A *recipe* describes what to train. Each setting belongs to one of the two
(`belongs_to_hardware`), so that they can be combined freely:

- hardware: where and how fast the run trains (device, batches, workers, cache, everything under ``speed``);
- recipe: what is learned (data, model, schedule, learning rate, epochs …).

A recipe that needs certain hardware settings lists them under ``requires``. They override the profile, but not a
preset's settings for that recipe (``recipes``) nor the user's. The recipe's learning rate is scaled to the total batch
by ``lr_batch_size``, so a profile may change the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import settings
from gputrain.engine.planning import ablation

HARDWARE_SETTINGS = frozenset(
    {
        *(
            "device",
            "loader",
            "cache",
            "cache_form",
            "cache_resolution",
            "cache_gib",
            "remote_cache_gib",
            "cost_per_hour",
            "price_per_kwh",
        ),
        *("batch_size", "val_batch_size", "accumulation_steps"),
        *("num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "non_blocking"),
    }
)
"""Settings outside the section ``speed`` that belong to hardware profiles."""

LAUNCH_SETTINGS = frozenset({"recipe", "profile", "preset", "name", "resume_from"})
"""Settings that each launch sets, so that files must not contain them."""

Range = tuple[float, float]
Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Rates = tuple[Positive, Positive]
"""Lowest and highest rate; times are computed by dividing by them."""
Line = Annotated[str, Meta(min_length=1, max_length=400)]


class Keys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a file; any other key is an error."""


class MatchRules(Keys, frozen=True):
    """The machines that a profile is for. A GPU must meet all given rules."""

    device: Literal["cuda", "cpu"] = "cuda"
    """``cpu``: for training without a GPU; the other rules are then ignored."""
    names: tuple[Line, ...] = ()
    """Product names as reported by NVML, compared without case; ``*`` matches any text."""
    memory_gib: Range | None = None
    """Smallest and largest memory as reported by NVML, in GiB."""
    capability: Positive | None = None
    """CUDA compute capability, for example 8.6."""
    any_gpu: bool = False
    """Matches NVIDIA GPUs without a profile of their own."""


class MachineFacts(Keys, frozen=True):
    """The machine for which the profile's numbers were published, for plans made on another machine."""

    cores: Positive | None = None
    ram_gib: Positive | None = None
    gpu_gib: Positive | None = None


class Reference(Keys, frozen=True):
    """Published measurements on such a machine, for comparison."""

    source: Line
    model: str = ""
    recipe: str = ""
    """Recipe with the same data and network; instead of `model`."""
    preset: str = ""
    """Preset of the measurement; empty: other settings, which give no forecast."""
    batch_size: int | None = None
    images_per_second: Rates | None = None
    iterations_per_second: Rates | None = None
    """One iteration is one batch."""
    gpu_percent: Range | None = None
    cpu_percent: Range | None = None
    ram_gb: Range | None = None
    vram_gb: Range | None = None
    power_watts: Range | None = None
    speed_up: Range | None = None
    """Speedup over what `over` names."""
    over: str = ""
    text: str = ""
    """Further facts: times, speedups, conditions."""


class ReferenceLadder(Keys, frozen=True):
    """Published gain of each optimization on such a machine, by the stage names of
    `gputrain.engine.planning.ablation`."""

    source: Line
    model: str = ""
    images_per_second: dict[ablation.Name, Positive] = {}
    """With the optimizations up to that stage."""
    gpu_percent: dict[ablation.Name, Positive] = {}
    minutes: dict[ablation.Name, Positive] = {}
    """Duration of the same training."""
    gains: dict[ablation.Name, Positive] = {}
    """Speedup over the speed without that optimization."""
    speed_up: Positive | None = None
    """Speedup of all optimizations together over the standard training, as the source states it."""
    text: str = ""

    def times(self, stage: str) -> float | None:
        """Speedup of a stage over the standard training; None where the source does not state it."""
        if stage == "all" and self.speed_up:
            return self.speed_up
        rates = {str(name): rate for name, rate in self.images_per_second.items()}
        return rates[stage] / rates["standard"] if {stage, "standard"} <= rates.keys() else None

    def gain(self, stage: str) -> float | None:
        """Speedup of that optimization alone; None where the source does not state it."""
        return next((gain for name, gain in self.gains.items() if name == stage), None)


class Preset(Struct, frozen=True, kw_only=True):
    """One set of settings for a machine, from conservative to aggressive."""

    name: str
    settings: Mapping[str, Any]
    source: str = ""
    """Source of the numbers."""
    worker_share: float | None = None
    """As in `HardwareProfile`; None: the profile's."""
    batch_per_gib: float | None = None
    """Images per GiB of GPU memory, for profiles of GPUs of unknown memory."""
    recipes: Mapping[str, Mapping[str, Any]] = {}
    """Settings for single recipes, by recipe name; they override `settings` and the recipe's requirements."""


class HardwareProfile(Struct, frozen=True, kw_only=True):
    """The settings for one kind of machine."""

    name: str
    title: str
    match: MatchRules
    settings: Mapping[str, Any]
    """Settings of all presets, by name, validated."""
    presets: Mapping[str, Preset]
    default_preset: str
    worker_share: float
    """Largest share of the usable cores for data workers; without ``num_workers`` it is also their number."""
    source: str
    notes: tuple[str, ...]
    """Source of the numbers and other remarks, a sentence each."""
    references: tuple[Reference, ...]
    ladders: tuple[ReferenceLadder, ...]
    machine: MachineFacts
    path: str
    renamed: tuple[str, ...] = ()
    """A note for each setting that the file calls by an old name."""

    def preset(self, name: str | None = None) -> Preset:
        """The preset called `name`, or the default one. Raises BadInput with the nearest name."""
        if name and name not in self.presets:
            known = ", ".join(self.presets)
            raise BadInput(
                f"profile {self.name} has no preset '{plain(name, 60)}'{did_you_mean(name, self.presets)} ({known})"
            )
        return self.presets[name or self.default_preset]


class Recipe(Struct, frozen=True, kw_only=True):
    """A training task with its settings."""

    name: str
    title: str
    description: str
    task: str
    """What the network predicts, and the main metric."""
    settings: Mapping[str, Any]
    """Settings that do not belong to the hardware, by name, validated."""
    requires: Mapping[str, Any]
    """Hardware settings that the recipe needs on every machine."""
    source: str
    path: str
    renamed: tuple[str, ...] = ()
    """A note for each setting that the file calls by an old name."""


def belongs_to_hardware(name: str) -> bool:
    """True for settings of hardware profiles; all others belong to recipes."""
    return name in HARDWARE_SETTINGS or settings.find(name).section == "speed"


def derived_batch(per_gib: float, memory: int) -> int:
    """Batch size for a GPU of `memory` bytes: a multiple of 8 for its tensor cores, at least 8."""
    return max(8, int(per_gib * memory / GIB) // 8 * 8)
