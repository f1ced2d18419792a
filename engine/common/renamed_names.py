"""Old names of settings, event types and event fields, and the names that replaced them.

Every reader of settings or records uses these tables: config.yaml, profiles, recipes, the command line, events,
plans, checkpoints and calibrations. Old files and commands therefore keep working. Writers use the new names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SETTINGS: dict[str, str] = {"colour_jitter": "color_jitter", "ranks": "devices"}
"""Old setting name → new one. An old name is never used again for another setting."""

EVENT_TYPES: dict[str, str] = {}
"""Old event type (the JSON value of ``type``) → new one."""

EVENT_FIELDS: dict[str, dict[str, str]] = {
    "hardware": {"others": "other_processes"},
    "tuned": {"promised": "prediction"},
}
"""Event type by its new name → old field name → new one."""

_SETTINGS_BY_NAME = ("settings", "origins", "changes", "was")
"""Event fields that are mappings by setting name, at any depth (`Hint.changes` is inside a list)."""


def setting_name(name: str) -> str:
    """The present name of a setting: ``colour_jitter`` → ``color_jitter``, and with its section in front."""
    section, dot, last = name.rpartition(".")
    return f"{section}{dot}{SETTINGS.get(last, last)}"


def current_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` by the settings' present names; a value under the present name wins over one under the old name."""
    return {setting_name(name): value for name, value in values.items() if name in SETTINGS} | {
        name: value for name, value in values.items() if name not in SETTINGS
    }


def renamed_notes(names: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each old name in `names`, which maps the names that a person wrote to their places."""
    for name, place in names.items():
        if (now := setting_name(name)) != name:
            yield f"{place}: {name} was renamed to {now}; the old name still works"


def old_names_pattern() -> re.Pattern[bytes]:
    """Matches a JSON line that may hold an old name. It can match lines without one, and never misses one."""
    fields = [old for renamed in EVENT_FIELDS.values() for old in renamed]
    words = sorted({*SETTINGS, *EVENT_TYPES, *fields})
    return re.compile(b'"(?:' + b"|".join(re.escape(word.encode()) for word in words) + b')"')


def current_event(event: dict[str, Any]) -> dict[str, Any]:
    """A decoded JSON event with the present type, field and setting names."""
    kind = EVENT_TYPES.get(str(event.get("type")), event.get("type"))
    fields = EVENT_FIELDS.get(str(kind), {})
    found = {fields[name]: value for name, value in event.items() if name in fields}
    found |= {name: _current_value(name, value) for name, value in event.items() if name not in fields}
    return {**found, "type": kind}


def _current_value(name: str, value: Any) -> Any:
    match value:
        case dict() if name in _SETTINGS_BY_NAME:
            return current_settings(value)
        case dict():
            return {key: _current_value(str(key), inner) for key, inner in value.items()}
        case list():
            return [_current_value("", inner) for inner in value]
        case _:
            return value
