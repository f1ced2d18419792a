"""Profiles and recipes as typed data, read from YAML files whose faults name file, line and key.

A *hardware profile* says how to use a machine: ``match`` recognizes it, ``settings`` hold for all
of its presets, and each of ``presets`` adds its own on top. A *recipe* says what to train. So that
the two can be combined freely, each setting belongs to one side (`belongs_to_hardware`):

- hardware: where and how fast it runs (device, batches, workers, cache, everything under ``speed``);
- recipe: all that decides what is learned (data, model, schedule, learning rate, epochs …).

A recipe that only works with certain hardware settings lists them under ``requires``; they then win
over the profile, but not over what a preset has for that very recipe (``recipes``), nor over the
person. The learning rate is a recipe's and is scaled to the total batch by ``lr_batch_size``, so a
profile may change the batch without spoiling it.
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
        *("device", "loader", "cache", "cache_form", "cache_resolution", "cache_gib"),
        *("batch_size", "val_batch_size", "accumulation_steps"),
        *("num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "non_blocking"),
    }
)
"""Settings outside the section ``speed`` that belong to hardware profiles."""

LAUNCH_SETTINGS = frozenset({"recipe", "profile", "preset", "name", "resume_from"})
"""Settings that each launch fills in by itself, so that no file may hold them."""

Range = tuple[float, float]
Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Line = Annotated[str, Meta(min_length=1, max_length=400)]


class Keys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a file; any other is a fault."""


class MatchRules(Keys, frozen=True):
    """Which machines a profile is for. A GPU must meet every rule that is given."""

    device: Literal["cuda", "cpu"] = "cuda"
    """``cpu``: for training without a GPU; the other rules are then of no use."""
    names: tuple[Line, ...] = ()
    """Product names as NVML gives them; ``*`` stands for any text. Compared without case."""
    memory_gib: Range | None = None
    """Smallest and largest memory as NVML gives it, in GiB."""
    capability: Positive | None = None
    """CUDA compute capability, for example 8.6."""
    any_gpu: bool = False
    """For NVIDIA GPUs that no other profile knows."""


class MachineFacts(Keys, frozen=True):
    """The machine that a profile's numbers are for, as far as its source tells it: for plans made elsewhere."""

    cores: Positive | None = None
    ram_gib: Positive | None = None
    gpu_gib: Positive | None = None


class Reference(Keys, frozen=True):
    """Figures that somebody measured on such a machine: for comparison, never a promise."""

    source: Line
    model: str = ""
    recipe: str = ""
    """Recipe that trains the same, with the data and the network that it has; instead of `model`."""
    preset: str = ""
    """Preset that the figures were measured with; empty: settings of their own, which foretell nothing."""
    batch_size: int | None = None
    images_per_second: Range | None = None
    iterations_per_second: Range | None = None
    """One iteration is one batch."""
    gpu_percent: Range | None = None
    cpu_percent: Range | None = None
    ram_gb: Range | None = None
    vram_gb: Range | None = None
    power_watts: Range | None = None
    speed_up: Range | None = None
    """Times as fast as what `over` names."""
    over: str = ""
    text: str = ""
    """What does not fit the fields above: times, speed-ups, conditions."""


class ReferenceLadder(Keys, frozen=True):
    """What each optimization gained on such a machine, by the names of `gputrain.engine.planning.ablation`."""

    source: Line
    model: str = ""
    images_per_second: dict[ablation.Name, Positive] = {}
    """With the optimizations up to that rung."""
    gpu_percent: dict[ablation.Name, Positive] = {}
    minutes: dict[ablation.Name, Positive] = {}
    """How long the same training took."""
    gains: dict[ablation.Name, Positive] = {}
    """Times the speed without that one."""
    speed_up: Positive | None = None
    """Times the standard speed that the source names for all of them."""
    text: str = ""

    def times(self, rung: str) -> float | None:
        """Times the standard speed on a rung; None where the source has no such figure."""
        if rung == "all" and self.speed_up:
            return self.speed_up
        rates = {str(name): rate for name, rate in self.images_per_second.items()}
        return rates[rung] / rates["standard"] if {rung, "standard"} <= rates.keys() else None

    def gain(self, rung: str) -> float | None:
        """Times the speed without that optimization; None where the source has no such figure."""
        return next((gain for name, gain in self.gains.items() if name == rung), None)


class Preset(Struct, frozen=True, kw_only=True):
    """One way to use a machine, from careful to daring."""

    name: str
    settings: Mapping[str, Any]
    source: str = ""
    """Where the numbers come from."""
    worker_share: float | None = None
    """As in `HardwareProfile`; None: the profile's."""
    batch_per_gib: float | None = None
    """Images per GiB of GPU memory, for profiles of GPUs whose memory is not known beforehand."""
    recipes: Mapping[str, Mapping[str, Any]] = {}
    """Settings for single recipes, by name; they win over those above and over what the recipe requires."""


class HardwareProfile(Struct, frozen=True, kw_only=True):
    """How to use one kind of machine."""

    name: str
    title: str
    match: MatchRules
    settings: Mapping[str, Any]
    """What all presets have in common, by setting name, checked."""
    presets: Mapping[str, Preset]
    default_preset: str
    worker_share: float
    """Share of the usable cores that workers may take; without ``num_workers`` it is also their number."""
    source: str
    notes: tuple[str, ...]
    """Where the numbers come from and what else is worth knowing, a sentence each."""
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
    """What to train."""

    name: str
    title: str
    description: str
    task: str
    """What is predicted, and by which metric it is judged."""
    settings: Mapping[str, Any]
    """Settings that do not belong to the hardware, by name, checked."""
    requires: Mapping[str, Any]
    """Hardware settings that this recipe needs on every machine."""
    source: str
    path: str
    renamed: tuple[str, ...] = ()
    """A note for each setting that the file calls by an old name."""


def belongs_to_hardware(name: str) -> bool:
    """True for the settings of hardware profiles; the others are a recipe's."""
    return name in HARDWARE_SETTINGS or settings.find(name).section == "speed"


def derived_batch(per_gib: float, memory: int) -> int:
    """Images for a GPU of `memory` bytes, in multiples of 8 for its tensor cores, at least 8."""
    return max(8, int(per_gib * memory / GIB) // 8 * 8)
