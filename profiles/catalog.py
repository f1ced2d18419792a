"""The catalog of profiles and recipes, and the ranking of profiles for a machine.

Built-in files are beside this module. The user's files, in ``profiles`` and ``recipes`` of the configuration folder,
replace built-in ones of the same name. An invalid file is listed with its error and affects no other.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.files import config_home
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.profiles.profile_files import read_profile, read_recipe
from gputrain.profiles.schema import HardwareProfile, MatchRules, Recipe, ReferenceLadder

Kind = Literal["profile", "recipe"]

_FOLDERS = {"profile": ("hardware", "profiles"), "recipe": ("recipes", "recipes")}


class Entry(Struct, frozen=True):
    """A file of the catalog."""

    name: str
    title: str
    """Empty for an invalid file."""
    path: Path
    own: bool
    """True for a file in the user's configuration folder."""
    error: str = ""
    """The error of an invalid file."""


class Match(Struct, frozen=True):
    """A profile in the ranking for a machine."""

    name: str
    title: str
    detected: bool
    """True when the profile is for this machine."""
    reason: str
    """The reason for its rank, as text."""
    presets: tuple[str, ...] = ()
    default_preset: str = ""
    own: bool = False
    error: str = ""


def load_profile(name: str) -> HardwareProfile:
    """The profile called `name`. Raises BadInput for an unknown name (with the nearest one) or an invalid file."""
    profile = _read_profile(*_version(_find("profile", name)))
    for preset in profile.presets.values():
        if preset.recipes and (unknown := sorted(preset.recipes.keys() - (known := _files("recipe")).keys())):
            nearest = did_you_mean(unknown[0], known)
            raise BadInput(f"{profile.path}: preset {preset.name} is for an unknown recipe '{unknown[0]}'{nearest}")
    return profile


def load_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises BadInput for an unknown name (with the nearest one) or an invalid file."""
    return _read_recipe(*_version(_find("recipe", name)))


def profile_entries() -> tuple[Entry, ...]:
    """All hardware profiles, invalid files included."""
    return _entries("profile", load_profile)


def recipe_entries() -> tuple[Entry, ...]:
    """All recipes, invalid files included."""
    return _entries("recipe", load_recipe)


def rank(machine: Machine) -> list[Match]:
    """All profiles, the best for `machine` first, invalid ones last."""
    entries = profile_entries()
    judged = {e.name: _judge(load_profile(e.name).match, machine) for e in entries if not e.error}
    top = max((score for score, _ in judged.values()), default=_FITS)
    matches = []
    for entry in entries:
        score, reason = judged.get(entry.name, (_BROKEN, entry.error))
        matches.append((score, _match(entry, reason, detected=score == top and score >= _FITS)))
    # Among equals the user's own profile comes first: it was made for this machine.
    matches.sort(key=lambda pair: (-pair[0], not pair[1].own, pair[1].name))
    return [match for _, match in matches]


def _match(entry: Entry, reason: str, *, detected: bool) -> Match:
    if entry.error:
        return Match(entry.name, entry.name, False, reason, own=entry.own, error=entry.error)
    profile = load_profile(entry.name)
    return Match(
        name=entry.name,
        title=entry.title,
        detected=detected,
        reason=reason,
        presets=tuple(profile.presets),
        default_preset=profile.default_preset,
        own=entry.own,
    )


def best(machine: Machine) -> str:
    """Name of the best profile for `machine`, as `rank` has it."""
    # All files take a tenth of a second to parse, which every start would wait for.
    for name in _likely(machine):
        with contextlib.suppress(BadInput):
            if _judge(load_profile(name).match, machine)[0] == _NAMED:
                return name
    return next(match.name for match in rank(machine) if not match.error)


def _likely(machine: Machine) -> Iterator[str]:
    """The user's own profiles, then those of the program whose text has the number of the machine's GPU."""
    number = re.search("[a-z]*[0-9]+", machine.gpus[0].name.casefold()) if machine.gpus else None
    wanted = "device: cpu" if not machine.gpus else number[0] if number else ""
    builtin = Path(__file__).parent / _FOLDERS["profile"][0]
    files = _files("profile")
    yield from (name for name, path in files.items() if path.parent != builtin)
    for name, path in files.items():
        if path.parent == builtin and wanted in path.read_text("utf-8").casefold():
            yield name


def reference_ladders(name: str) -> dict[str, ReferenceLadder]:
    """Published gains of each optimization, by profile name: those of the profile `name`, or of all if it has none."""
    found = {entry.name: load_profile(entry.name).ladders for entry in profile_entries() if not entry.error}
    published = {profile: those[0] for profile, those in found.items() if those}
    return {name: published[name]} if name in published else published


def fits(profile: HardwareProfile, machine: Machine) -> bool:
    """True when `profile` matches `machine` in name, memory and compute capability."""
    return _judge(profile.match, machine)[0] == _NAMED


_NAMED, _FITS, _CPU_BESIDE_GPU, _SIMILAR, _OTHER, _BROKEN = 5, 4, 3, 2, 1, 0


def _judge(rules: MatchRules, machine: Machine) -> tuple[int, str]:
    """Score of a profile for a machine (the constants above), and the reason."""
    cores = f"{machine.usable_cores:g} usable cores"
    if rules.device == "cpu":
        if machine.gpus:
            return _CPU_BESIDE_GPU, f"leaves the GPU alone; {cores}"
        return _NAMED, f"{machine.gpu_error or 'no NVIDIA GPU'}; {cores}"
    if not machine.gpus:
        return _OTHER, "for another machine: no NVIDIA GPU here"
    gpu = machine.gpus[0]
    said = f"NVML reports {plain(gpu.name, 80)}, {_memory(gpu)}"
    named = any(_same_name(pattern, gpu.name) for pattern in rules.names)
    alike = _memory_fits(rules, gpu) and rules.capability in (None, _capability(gpu))
    if named and alike:
        return _NAMED, said
    if rules.any_gpu:
        return _FITS, f"{said}; settings derived from its memory"
    if rules.memory_gib and rules.capability and alike:
        return _SIMILAR, f"for another card of the same size and generation ({said})"
    return _OTHER, f"for another card ({said})"


def _same_name(pattern: str, name: str) -> bool:
    """Whether a product name matches a pattern; drivers before 2021 omit the leading ``NVIDIA``."""
    pattern, name = pattern.casefold(), plain(name, 200).casefold()
    pieces = (re.escape(piece) for piece in pattern.removeprefix("nvidia ").split("*"))
    return re.fullmatch(".*".join(pieces), name.removeprefix("nvidia ")) is not None


def _memory_fits(rules: MatchRules, gpu: GpuInfo) -> bool:
    if rules.memory_gib is None:
        return True
    low, high = rules.memory_gib
    return gpu.memory is not None and low <= gpu.memory / GIB <= high


def _capability(gpu: GpuInfo) -> float | None:
    return float(f"{gpu.capability[0]}.{gpu.capability[1]}") if gpu.capability else None


def _memory(gpu: GpuInfo) -> str:
    if gpu.unified:
        return "unified memory"
    return "memory unknown" if gpu.memory is None else f"{gpu.memory / GIB:.0f} GiB"


def _files(kind: Kind) -> dict[str, Path]:
    """All files of a kind by name, in alphabetical order. Raises BadInput if a folder cannot be listed."""
    builtin, own = _FOLDERS[kind]
    found: dict[str, Path] = {}
    for folder in (Path(__file__).parent / builtin, config_home() / own):
        try:
            paths = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise BadInput(f"{folder}: cannot be listed: {error.strerror}") from None
        found.update((path.stem, path) for path in paths if path.suffix == ".yaml")
    return dict(sorted(found.items()))


def _find(kind: Kind, name: str) -> Path:
    """The file of a name. The name is looked up in the listing, so it cannot leave the folders."""
    known = _files(kind)
    if name not in known:
        raise BadInput(f"unknown {kind} '{plain(name, 60)}'{did_you_mean(name[:60], known)} (all: {', '.join(known)})")
    return known[name]


_Read = TypeVar("_Read", HardwareProfile, Recipe)


def _entries(kind: Kind, load: Callable[[str], _Read]) -> tuple[Entry, ...]:
    entries = []
    for name, path in _files(kind).items():
        own = path.parent != Path(__file__).parent / _FOLDERS[kind][0]
        title, error = "", ""
        try:
            title = load(name).title
        except BadInput as fault:
            error = plain(str(fault), 400)
        entries.append(Entry(plain(name, 60), title, path, own, error))
    return tuple(entries)


def _version(path: Path) -> tuple[Path, tuple[int, int]]:
    """The cache key of a file; it changes when the file is edited, so that it is read again."""
    try:
        found = path.stat()
        return path, (found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=256)
def _read_profile(path: Path, _version: tuple[int, int]) -> HardwareProfile:
    return read_profile(path)


@functools.lru_cache(maxsize=256)
def _read_recipe(path: Path, _version: tuple[int, int]) -> Recipe:
    return read_recipe(path)
