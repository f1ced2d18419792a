"""``gputrain-tui profiles | recipes | settings``: what there is to choose from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec

from gputrain.engine import settings
from gputrain.engine.errors import EXIT_FINISHED
from gputrain.engine.machine import inspect_machine
from gputrain.engine.settings import Setting
from gputrain.engine.text import plain
from gputrain.profiles import catalog
from gputrain.tui.commands.table import print_table


def run(options: argparse.Namespace) -> int:
    """Print the list that the command names, or one of its entries in full."""
    return {"profiles": _profiles, "recipes": _recipes, "settings": _settings}[options.command](options)


def _profiles(options: argparse.Namespace) -> int:
    if options.name:
        return _show(msgspec.to_builtins(catalog.load_profile(options.name)), options.json)
    ranked = catalog.rank(inspect_machine())
    if options.json:
        return _lines([msgspec.to_builtins(match) for match in ranked])
    rows = [
        (("● " if m.detected else "  ") + plain(m.name, 60), plain(m.title, 60), plain(m.reason, 200)) for m in ranked
    ]
    print_table(("  profile", "for", "here"), rows)
    return EXIT_FINISHED


def _recipes(options: argparse.Namespace) -> int:
    if options.name:
        return _show(msgspec.to_builtins(catalog.load_recipe(options.name)), options.json)
    entries = catalog.recipe_entries()
    if options.json:
        return _lines([{"name": e.name, "title": e.title, "file": str(e.path), "error": e.error} for e in entries])
    print_table(("recipe", "what it trains"), [(plain(e.name, 60), plain(e.error or e.title, 200)) for e in entries])
    return EXIT_FINISHED


def _settings(options: argparse.Namespace) -> int:
    chosen = [settings.find(options.name)] if options.name else list(settings.table().values())
    if options.json:
        return _lines([_setting_json(setting) for setting in chosen])
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


def _show(values: dict[str, Any], as_json: bool) -> int:
    if as_json:
        return _lines([values])
    print(msgspec.yaml.encode(values).decode(), end="")
    return EXIT_FINISHED
