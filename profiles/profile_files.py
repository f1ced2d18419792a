"""Parses profile and recipe files into the types of `gputrain.profiles.schema`; errors name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings, yaml_file
from gputrain.engine.configuration.yaml_file import Document
from gputrain.engine.estimates.worker_limit import WORKER_SHARE
from gputrain.profiles.schema import (
    LAUNCH_SETTINGS,
    HardwareProfile,
    Keys,
    Line,
    MachineFacts,
    MatchRules,
    Positive,
    Preset,
    Recipe,
    Reference,
    ReferenceLadder,
    Share,
    belongs_to_hardware,
)

_Parsed = TypeVar("_Parsed", bound=Keys)


class _ProfileKeys(Keys, frozen=True):
    title: Line
    match: MatchRules
    presets: dict[str, dict[str, Any] | None]
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    default_preset: str = "balanced"
    worker_share: Share = WORKER_SHARE
    source: str = ""
    notes: tuple[Line, ...] = ()
    reference: tuple[Reference, ...] = ()
    ladder: tuple[ReferenceLadder, ...] = ()
    machine: MachineFacts = MachineFacts()


class _PresetKeys(Keys, frozen=True):
    source: str = ""
    worker_share: Share | None = None
    batch_per_gib: Positive | None = None
    recipes: dict[str, dict[str, Any] | None] = msgspec.field(default_factory=dict)


class _RecipeKeys(Keys, frozen=True):
    title: Line
    description: str = ""
    task: str = ""
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    requires: dict[str, Any] = msgspec.field(default_factory=dict)
    source: str = ""


def read_profile(path: Path) -> HardwareProfile:
    """The profile in a file, named after it. Raises BadInput with file, line, key and reason."""
    return parse_profile(yaml_file.load(path))


def parse_profile(document: Document) -> HardwareProfile:
    """The profile in a parsed file. Raises BadInput as `read_profile` does."""
    keys = _typed(document, _ProfileKeys, document.values)
    presets = {name: _preset(document, name, values or {}) for name, values in keys.presets.items()}
    if keys.default_preset not in presets:
        place = _place(document, "default_preset" if "default_preset" in document.values else "presets")
        known = ", ".join(presets) or "none are given"
        preset = plain(keys.default_preset, 60)
        raise BadInput(f"{place}: default_preset is {preset}, which is not one of the presets ({known})")
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
        ladders=keys.ladder,
        machine=keys.machine,
        path=str(document.path),
        renamed=document.renamed(),
    )


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file, named after it. Raises BadInput with file, line, key and reason."""
    document = yaml_file.load(path)
    keys = _typed(document, _RecipeKeys, document.values)
    return Recipe(
        name=path.stem,
        title=plain(keys.title),
        description=plain(keys.description),
        task=plain(keys.task),
        settings=_settings_of(document, keys.settings, ("settings",), _recipe_only),
        requires=_settings_of(document, keys.requires, ("requires",), _hardware_only),
        source=plain(keys.source),
        path=str(path),
        renamed=document.renamed(),
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
        recipes={
            plain(recipe, 60): _settings_of(document, own or {}, (*within, "recipes", recipe), _hardware_only)
            for recipe, own in keys.recipes.items()
        },
    )


def _settings_of(
    document: Document, values: Mapping[str, Any], within: tuple[str, ...], refusal: Callable[[str], str]
) -> dict[str, Any]:
    found = yaml_file.read_settings(document, values, within)
    for name in found:
        if why := refusal(name):
            section = settings.find(name).section
            grouped = ".".join((*within, section, name)) in document.lines
            raise BadInput(f"{_place(document, *within, *([section] if grouped else []), name)}: {why}")
    return found


def _hardware_only(name: str) -> str:
    """Why `name` is not allowed among hardware settings; empty if it is."""
    if name in LAUNCH_SETTINGS:
        return f"{name} is set by each launch and is not allowed in a file"
    return "" if belongs_to_hardware(name) else f"{name} belongs to a recipe, not to the hardware"


def _recipe_only(name: str) -> str:
    """Why `name` is not allowed among a recipe's settings; empty if it is."""
    if name in LAUNCH_SETTINGS:
        return f"{name} is set by each launch and is not allowed in a file"
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
    what, _, where = message.replace(" - at `key` in `$", " - at `$").rpartition(" - at `$")
    what, path = (what, where.rstrip("`").lstrip(".")) if what else (message, "")
    keys = [re.sub(r"\[.*", "", key) for key in path.split(".") if key]
    if unknown := _UNKNOWN.match(what):
        known = [
            f
            for kind in (_ProfileKeys, _RecipeKeys, MatchRules, MachineFacts, Reference, ReferenceLadder)
            for f in kind.__struct_fields__
        ]
        name = plain(unknown[1], 60)
        return f"{_place(document, *within, *keys, unknown[1])}: unknown key '{name}'{did_you_mean(name, known)}"
    shown = ".".join((*within, path)) if path else ".".join(within)
    what = re.sub(r"`([a-z]+)(?: \| null)?`", lambda word: _WORDS.get(word[1], word[1]), what[0].lower() + what[1:])
    return f"{_place(document, *within, *keys)}: {plain(shown, 100)}: {plain(what, 200)}"


def _place(document: Document, *keys: str) -> str:
    """``file:line`` of the innermost of `keys` with a known line."""
    for length in range(len(keys), 0, -1):
        if ".".join(keys[:length]) in document.lines:
            return document.place(*keys[:length])
    return str(document.path)
