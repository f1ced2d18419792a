"""Formats a profile or a recipe in full."""

from __future__ import annotations

from collections.abc import Iterator

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.settings import shown
from gputrain.profiles.schema import HardwareProfile, Recipe, Reference, ReferenceLadder

_RANGES = (
    ("images_per_second", "img/s"),
    ("iterations_per_second", "batches/s"),
    ("gpu_percent", "% GPU"),
    ("cpu_percent", "% CPU"),
    ("ram_gb", "GB of RAM"),
    ("vram_gb", "GB of VRAM"),
    ("power_watts", "W"),
)


def profile_head(profile: HardwareProfile) -> Iterator[str]:
    """Name, file, source and matching rules."""
    yield f"{profile.name}: {plain(profile.title, 200)}"
    yield f"file     {plain(profile.path, 400)}"
    if profile.source:
        yield f"source   {plain(profile.source, 400)}"
    rules = profile.match
    words = [f"device {rules.device}", *(plain(name, 100) for name in rules.names)]
    if rules.memory_gib:
        words.append(f"{rules.memory_gib[0]:g} to {rules.memory_gib[1]:g} GiB")
    if rules.capability:
        words.append(f"compute capability {rules.capability:g}")
    if rules.any_gpu:
        words.append("any GPU without its own profile")
    yield f"for      {', '.join(words)}"
    yield f"workers  at most {profile.worker_share:.0%} of the usable cores"


def preset_table(profile: HardwareProfile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: one row per setting, one column per preset; the default preset is marked with *."""
    presets = profile.presets.values()
    header = ("setting", *(f"{p.name}{' *' if p.name == profile.default_preset else ''}" for p in presets))
    names = dict.fromkeys([*profile.settings, *(name for preset in presets for name in preset.settings)])
    rows = []
    for name in names:
        values = ({**profile.settings, **preset.settings}.get(name) for preset in presets)
        rows.append((name, *("" if value is None else plain(shown(value), 60) for value in values)))
    if any(preset.batch_per_gib for preset in presets):
        per_gib = (f"{preset.batch_per_gib:g} per GiB" if preset.batch_per_gib else "" for preset in presets)
        rows.append(("batch_size", *per_gib))
    if any(preset.worker_share for preset in presets):
        shares = (f"{preset.worker_share:.0%}" if preset.worker_share else "" for preset in presets)
        rows.append(("worker_share", *shares))
    for recipe, name in dict.fromkeys((r, n) for preset in presets for r, own in preset.recipes.items() for n in own):
        found = (preset.recipes.get(recipe, {}).get(name) for preset in presets)
        rows.append((f"{name} ({plain(recipe, 60)})", *("" if v is None else plain(shown(v), 60) for v in found)))
    return header, rows


def profile_tail(profile: HardwareProfile) -> Iterator[str]:
    """Sources of the presets, notes, and published measurements."""
    for preset in profile.presets.values():
        if preset.source:
            yield f"{preset.name}: {plain(preset.source, 400)}"
    for note in profile.notes:
        yield f"- {plain(note, 600)}"
    for reference in profile.references:
        yield f"reference: {_reference(reference)}"
    for ladder in profile.ladders:
        yield f"ablation: {_ladder(ladder)}"


def _reference(reference: Reference) -> str:
    figures = []
    for field, unit in _RANGES:
        found: tuple[float, float] | None = getattr(reference, field)
        if found:
            low, high = found
            figures.append(f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}")
    if reference.speed_up:
        low, high = reference.speed_up
        times = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        figures.append(f"{times} times as fast as {reference.over or 'before'}")
    words = [reference.source, *figures, reference.text]
    return plain("; ".join(word for word in words if word), 600)


def _ladder(ladder: ReferenceLadder) -> str:
    found = [f"{stage} {rate:g} img/s" for stage, rate in ladder.images_per_second.items()]
    found += [f"{stage} {gain:g} ×" for stage, gain in ladder.gains.items()]
    if ladder.speed_up:
        found.append(f"total {ladder.speed_up:g} ×")
    return plain("; ".join(word for word in (ladder.source, ", ".join(found), ladder.text) if word), 600)


def recipe_lines(recipe: Recipe) -> Iterator[str]:
    """A recipe in full, as lines."""
    yield f"{recipe.name}: {plain(recipe.title, 200)}"
    for title, text in (
        ("file", recipe.path),
        ("source", recipe.source),
        ("task", recipe.task),
        ("data", recipe.description),
    ):
        if text:
            yield f"{title:<8} {plain(text, 800)}"
    yield ""
    for name, value in recipe.settings.items():
        yield f"{name:<20} {plain(shown(value), 200)}"
    for name, value in recipe.requires.items():
        yield f"{name:<20} {plain(shown(value), 200)}  (required on every machine)"
    yield f"\ntrain with: gputrain-tui train --recipe {recipe.name}"
