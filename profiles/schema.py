"""Profiles and recipes as typed data, read from YAML files whose faults name file, line and key.

A *hardware profile* says how to use a machine: ``match`` recognizes it, ``settings`` hold for all
of its presets, and each of ``presets`` adds its own on top. A *recipe* says what to train. So that
the two can be combined freely, each setting belongs to one side (`belongs_to_hardware`):

- hardware: where and how fast it runs (device, batches, workers, cache, everything under ``speed``);
- recipe: all that decides what is learned (data, model, schedule, learning rate, epochs …).

A recipe that only works with certain hardware settings lists them under ``requires``; they then win
over the profile, but not over the person. The learning rate is a recipe's and is scaled to the total
batch by ``lr_batch_size``, so a profile may change the batch without spoiling it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gputrain.engine import settings, yamlfile
from gputrain.engine.adjust import WORKER_SHARE
from gputrain.engine.errors import BadInput, did_you_mean
from gputrain.engine.text import plain
from gputrain.engine.units import GIB
from gputrain.engine.yamlfile import Document

HARDWARE_SETTINGS = frozenset(
    {
        *("device", "loader", "cache", "cache_form", "batch_size", "val_batch_size", "accumulation_steps"),
        *("num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "non_blocking"),
    }
)
"""Settings outside the section ``speed`` that belong to hardware profiles."""

LAUNCH_SETTINGS = frozenset({"recipe", "profile", "preset", "name", "resume_from"})
"""Settings that each launch fills in by itself, so that no file may hold them."""

Range = tuple[float, float]
_Share = Annotated[float, Meta(gt=0, le=1)]
_Positive = Annotated[float, Meta(gt=0)]
_Line = Annotated[str, Meta(min_length=1, max_length=400)]


class _Keys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class MatchRules(_Keys, frozen=True):
    """Which machines a profile is for. A GPU must meet every rule that is given."""

    device: Literal["cuda", "cpu"] = "cuda"
    """``cpu``: for training without a GPU; the other rules are then of no use."""
    names: tuple[_Line, ...] = ()
    """Product names as NVML gives them; ``*`` stands for any text. Compared without case."""
    memory_gib: Range | None = None
    """Smallest and largest memory as NVML gives it, in GiB."""
    capability: _Positive | None = None
    """CUDA compute capability, for example 8.6."""
    any_gpu: bool = False
    """For NVIDIA GPUs that no other profile knows."""


class Reference(_Keys, frozen=True):
    """Figures that somebody measured on such a machine: for comparison, never a promise."""

    source: _Line
    model: str = ""
    preset: str = ""
    """Preset that the figures were measured with; empty: settings of their own."""
    batch_size: int | None = None
    images_per_second: Range | None = None
    iterations_per_second: Range | None = None
    """One iteration is one batch."""
    gpu_percent: Range | None = None
    cpu_percent: Range | None = None
    ram_gb: Range | None = None
    vram_gb: Range | None = None
    power_watts: Range | None = None
    text: str = ""
    """What does not fit the fields above: times, speed-ups, conditions."""


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
    path: Path

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
    path: Path


class _ProfileKeys(_Keys, frozen=True):
    title: _Line
    match: MatchRules
    presets: dict[str, dict[str, Any] | None]
    settings: dict[str, Any] = {}
    default_preset: str = "balanced"
    worker_share: _Share = WORKER_SHARE
    source: str = ""
    notes: tuple[_Line, ...] = ()
    reference: tuple[Reference, ...] = ()


class _PresetKeys(_Keys, frozen=True):
    source: str = ""
    worker_share: _Share | None = None
    batch_per_gib: _Positive | None = None


class _RecipeKeys(_Keys, frozen=True):
    title: _Line
    description: str = ""
    task: str = ""
    settings: dict[str, Any] = {}
    requires: dict[str, Any] = {}
    source: str = ""


_Parsed = TypeVar("_Parsed", bound=_Keys)


def belongs_to_hardware(name: str) -> bool:
    """True for the settings of hardware profiles; the others are a recipe's."""
    return name in HARDWARE_SETTINGS or settings.find(name).section == "speed"


def derived_batch(per_gib: float, memory: int) -> int:
    """Images for a GPU of `memory` bytes, in multiples of 8 for its tensor cores, at least 8."""
    return max(8, int(per_gib * memory / GIB) // 8 * 8)


def read_profile(path: Path) -> HardwareProfile:
    """The profile in a file, named after it. Raises BadInput with file, line, key and reason."""
    return parse_profile(yamlfile.load(path))


def parse_profile(document: Document) -> HardwareProfile:
    """The profile in a parsed file. Raises BadInput as `read_profile` does."""
    keys = _typed(document, _ProfileKeys, document.values)
    presets = {name: _preset(document, name, values or {}) for name, values in keys.presets.items()}
    if keys.default_preset not in presets:
        place = _place(document, "default_preset" if "default_preset" in document.values else "presets")
        known = ", ".join(presets) or "none are given"
        raise BadInput(f"{place}: default_preset is {plain(keys.default_preset, 60)}, which is no preset ({known})")
    return HardwareProfile(
        name=document.path.stem,
        title=plain(keys.title),
        match=keys.match,
        settings=_settings_of(document, keys.settings, ("settings",), _hardware_only),
        presets=presets,
        default_preset=keys.default_preset,
        worker_share=keys.worker_share,
        source=plain(keys.source),
        notes=tuple(plain(note) for note in keys.notes),
        references=keys.reference,
        path=document.path,
    )


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file, named after it. Raises BadInput with file, line, key and reason."""
    document = yamlfile.load(path)
    keys = _typed(document, _RecipeKeys, document.values)
    return Recipe(
        name=path.stem,
        title=plain(keys.title),
        description=plain(keys.description),
        task=plain(keys.task),
        settings=_settings_of(document, keys.settings, ("settings",), _recipe_only),
        requires=_settings_of(document, keys.requires, ("requires",), _hardware_only),
        source=plain(keys.source),
        path=path,
    )


def _preset(document: Document, name: str, values: dict[str, Any]) -> Preset:
    within = ("presets", name)
    own = {key: value for key, value in values.items() if key in _PresetKeys.__struct_fields__}
    keys = _typed(document, _PresetKeys, own, within)
    rest = {key: value for key, value in values.items() if key not in own}
    return Preset(
        name=plain(name, 60),
        settings=_settings_of(document, rest, within, _hardware_only),
        source=plain(keys.source),
        worker_share=keys.worker_share,
        batch_per_gib=keys.batch_per_gib,
    )


def _settings_of(
    document: Document, values: Mapping[str, Any], within: tuple[str, ...], refusal: Callable[[str], str]
) -> dict[str, Any]:
    found = yamlfile.read_settings(document, values, within)
    for name in found:
        if why := refusal(name):
            section = settings.find(name).section
            grouped = ".".join((*within, section, name)) in document.lines
            raise BadInput(f"{_place(document, *within, *([section] if grouped else []), name)}: {why}")
    return found


def _hardware_only(name: str) -> str:
    """Why `name` cannot stand among hardware settings, or an empty string."""
    if name in LAUNCH_SETTINGS:
        return f"{name} is set by each launch and cannot stand in a file"
    return "" if belongs_to_hardware(name) else f"{name} belongs to a recipe, not to the hardware"


def _recipe_only(name: str) -> str:
    """Why `name` cannot stand among a recipe's settings, or an empty string."""
    if name in LAUNCH_SETTINGS:
        return f"{name} is set by each launch and cannot stand in a file"
    if belongs_to_hardware(name):
        return f"{name} belongs to the hardware profile; if the recipe needs it on every machine, put it under requires"
    return ""


def _typed(document: Document, kind: type[_Parsed], values: Mapping[str, Any], within: tuple[str, ...] = ()) -> _Parsed:
    for required in (f.name for f in msgspec.structs.fields(kind) if f.required):
        if values.get(required) is None:
            raise BadInput(f"{_place(document, *within)}: {required} is missing")
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise BadInput(_explain(document, str(error), within)) from None


_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "'key: value' lines",
    "null": "nothing",
}
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def _explain(document: Document, message: str, within: tuple[str, ...]) -> str:
    """``Expected `str`, got `int` - at `$.match.names[0]``` as ``file:3: match.names[0]: expected text …``."""
    what, _, where = message.rpartition(" - at `$")
    what, path = (what, where.rstrip("`").lstrip(".")) if what else (message, "")
    keys = [re.sub(r"\[.*", "", key) for key in path.split(".") if key]
    if unknown := _UNKNOWN.match(what):
        known = [f for kind in (_ProfileKeys, _RecipeKeys, MatchRules, Reference) for f in kind.__struct_fields__]
        name = plain(unknown[1], 60)
        return f"{_place(document, *within, *keys, unknown[1])}: unknown key '{name}'{did_you_mean(name, known)}"
    shown = ".".join((*within, path)) if path else ".".join(within)
    what = re.sub(r"`([a-z]+)(?: \| null)?`", lambda word: _WORDS.get(word[1], word[1]), what[0].lower() + what[1:])
    return f"{_place(document, *within, *keys)}: {plain(shown, 100)}: {plain(what, 200)}"


def _place(document: Document, *keys: str) -> str:
    """``file:line`` of the innermost of `keys` that has a line."""
    for length in range(len(keys), 0, -1):
        if ".".join(keys[:length]) in document.lines:
            return document.place(*keys[:length])
    return str(document.path)
