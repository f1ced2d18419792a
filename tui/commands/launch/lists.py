"""``gputrain-tui profiles | recipes | settings``: lists what can be chosen, and creates a profile."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.settings import Setting
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.profiles import catalog
from gputrain.profiles.new_profile import new_profile
from gputrain.profiles.schema import HardwareProfile
from gputrain.tui.render.profile_listing import preset_table, profile_head, profile_tail, recipe_lines
from gputrain.tui.render.setting_help import help_rows
from gputrain.tui.render.text_table import print_table


def run(options: argparse.Namespace) -> int:
    """Print the list or one entry in full, or write a new profile."""
    return {"profiles": _profiles, "recipes": _recipes, "settings": _settings}[options.command](options)


def _profiles(options: argparse.Namespace) -> int:
    action, name = _action_and_name(options.what, ("show", "new"))
    if action == "new":
        return _new_profile(name)
    if name:
        return _show_profile(catalog.load_profile(name), options.json)
    ranked = catalog.rank(inspect_machine())
    if options.json:
        return _lines([msgspec.to_builtins(match) for match in ranked])
    rows = [
        (("● " if m.detected else "  ") + plain(m.name, 60), plain(m.title, 60), plain(m.reason, 200)) for m in ranked
    ]
    print_table(("  profile", "for", "here"), rows)
    return EXIT_FINISHED


def _action_and_name(what: list[str], actions: tuple[str, ...]) -> tuple[str, str]:
    """``[]``, ``[NAME]`` or ``[ACTION, NAME]`` as action and name. Raises BadInput."""
    action, names = (what[0], what[1:]) if what and what[0] in actions else ("show", what)
    if len(names) > 1 or (what and not names):
        raise BadInput(f"expected one NAME, or {' or '.join(f'{action} NAME' for action in actions)}")
    return action, names[0] if names else ""


def _new_profile(name: str) -> int:
    path = new_profile(name, inspect_machine())
    print(f"{path}: a profile with the values of this machine and a comment on each.")
    print(f"Edit it, then run: gputrain-tui train --profile {path.stem}")
    return EXIT_FINISHED


def _show_profile(profile: HardwareProfile, as_json: bool) -> int:
    if as_json:
        return _lines([msgspec.to_builtins(profile)])
    print("\n".join(profile_head(profile)), end="\n\n")
    print_table(*preset_table(profile))
    if tail := "\n".join(profile_tail(profile)):
        print(f"\n{tail}")
    return EXIT_FINISHED


def _recipes(options: argparse.Namespace) -> int:
    _, name = _action_and_name(options.what, ("show",))
    if name:
        recipe = catalog.load_recipe(name)
        if options.json:
            return _lines([msgspec.to_builtins(recipe)])
        print("\n".join(recipe_lines(recipe)))
        return EXIT_FINISHED
    entries = catalog.recipe_entries()
    if options.json:
        return _lines([{"name": e.name, "title": e.title, "file": str(e.path), "error": e.error} for e in entries])
    print_table(("recipe", "what it trains"), [(plain(e.name, 60), plain(e.error or e.title, 200)) for e in entries])
    print("\nYour own training script, unedited: gputrain-tui exec -- python my_train.py")
    return EXIT_FINISHED


def _settings(options: argparse.Namespace) -> int:
    chosen = [settings.find(options.name)] if options.name else list(settings.table().values())
    if options.json:
        return _lines([_setting_json(setting) for setting in chosen])
    if options.name:
        print_table((chosen[0].name, ""), list(help_rows(chosen[0])))
        return EXIT_FINISHED
    rows = [
        (s.name, _shown(s.default), s.kind.__name__ if not s.choices else " | ".join(s.choices), s.description)
        for s in chosen
    ]
    print_table(("setting", "default", "values", "what it does"), rows)
    return EXIT_FINISHED


def _setting_json(setting: Setting) -> dict[str, Any]:
    return {
        "name": setting.name,
        "section": setting.section,
        "type": setting.kind.__name__,
        "default": setting.default,
        "choices": setting.choices,
        "description": setting.description,
    }


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else ("''" if value == "" else str(value))


def _lines(objects: Sequence[object]) -> int:
    for item in objects:
        print(msgspec.json.encode(item).decode())
    return EXIT_FINISHED
