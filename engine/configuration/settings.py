"""The table of all settings of `RunConfig`, and checks of values from files and command lines.

The table comes from the annotations in `setting_definitions`. The command line, YAML files, the
launcher's form and the documentation all use it.
"""

from __future__ import annotations

import functools
import math
import operator
import typing
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
import yaml

from gputrain.engine.common import hugging_face_names, renamed_names
from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.numbers import has_thousands_point, number, why_no_number
from gputrain.engine.common.remote_urls import without_secrets
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization
from gputrain.engine.configuration.sections.data_settings import NORMALIZATION
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.yaml_scalars import Ambiguous, load_word

YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""Exceptions of the safe loader: its own, and others for impossible dates, ``!!bool maybe`` and deep nesting."""

RUN_SECTION = ""
"""The section of settings directly in `RunConfig`."""


class Setting(msgspec.Struct, frozen=True):
    """One setting: its section, type, default, bounds and description."""

    name: str
    section: str
    kind: type
    """``bool``, ``int``, ``float`` or ``str``."""
    default: Any
    choices: tuple[str, ...]
    meta: msgspec.Meta | None

    @property
    def description(self) -> str:
        """The description, one line."""
        return (self.meta.description if self.meta else None) or ""


@functools.cache
def table() -> dict[str, Setting]:
    """All settings by name, in the order of their declaration."""
    settings: dict[str, Setting] = {}
    for field in msgspec.structs.fields(RunConfig):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for part in msgspec.structs.fields(field.type):
                _add(settings, _setting(part, field.name))
        else:
            _add(settings, _setting(field, RUN_SECTION))
    return settings


def _add(settings: dict[str, Setting], setting: Setting) -> None:
    assert setting.name not in settings, f"two settings are called {setting.name}"
    settings[setting.name] = setting


def sections() -> tuple[str, ...]:
    """Names of the sections that group settings in files."""
    return tuple(dict.fromkeys(s.section for s in table().values() if s.section))


def _setting(field: msgspec.structs.FieldInfo, section: str) -> Setting:
    hint, meta = field.type, None
    if get_origin(hint) is typing.Annotated:
        hint, meta = get_args(hint)[0], next(m for m in get_args(hint) if isinstance(m, msgspec.Meta))
    choices = tuple(get_args(hint)) if get_origin(hint) is Literal else ()
    kind = str if choices else hint
    assert kind in _KINDS, f"{field.name}: {kind} has no check"
    return Setting(field.name, section, kind, field.default, choices, meta)


def find(name: str) -> Setting:
    """The setting called `name` (``batch_size`` or ``data.batch_size``), or that was called so in an older version.

    Raises BadInput with the nearest name.
    """
    name = renamed_names.setting_name(name)
    setting = table().get(name.rpartition(".")[2])
    if setting is None or ("." in name and name != f"{setting.section}.{setting.name}"):
        known = [*table(), *(f"{s.section}.{s.name}" for s in table().values() if s.section and "." in name)]
        raise BadInput(f"unknown setting '{plain(name, 60)}'{did_you_mean(name[:60], known)}")
    return setting


def check(setting: Setting, value: Any) -> Any:
    """Return `value` in the setting's own type. Raises BadInput with the expected and the given value.

    Integral floats are accepted as integers (``1e3``), integers as floats, and quoted numbers as numbers.
    """
    if setting.choices:
        if value not in setting.choices:
            raise BadInput(_must(setting, f"be one of {', '.join(setting.choices)}", value))
        return value
    if setting.kind in (int, float) and isinstance(value, str):
        value = value if setting.kind is int and has_thousands_point(value) else _as_number(value)
    if setting.kind is float and type(value) is int and abs(value) < _LARGEST:
        value = float(value)
    if setting.kind is int and type(value) is float and value.is_integer():
        value = int(value)
    if setting.kind is str and (value is None or isinstance(value, Ambiguous)):
        value = "" if value is None else str(value)
    if setting.meta is not None and setting.meta.extra is not None:
        try:
            value = setting.meta.extra["parse"](value)
        except ValueError as error:
            raise BadInput(_must(setting, f"be {error}", value)) from None
    if setting.name in NORMALIZATION:
        value = normalization.checked(setting.name, value)
    if type(value) is not setting.kind:
        raise BadInput(_must(setting, f"be {_KINDS[setting.kind]}", value))
    if isinstance(value, str):
        _check_text(setting, value)
    _check_bounds(setting, value)
    return value


_LARGEST = 2**63
"""Numbers must be below: larger ones do not fit a signed 64-bit integer and cannot be recorded."""


def _check_text(setting: Setting, value: str) -> None:
    # A path or name with a line break, a NUL or an undecodable byte would fail much later.
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value):
        raise BadInput(_must(setting, "be one line of text in UTF-8 without control characters", value))


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _as_number(value: str) -> object:
    """The number in a quoted text or a word of the command line; `value` itself if it is none."""
    try:
        found = number(value)
    except ValueError:  # more digits than Python converts
        return value
    return value if found is None else found


def _check_bounds(setting: Setting, value: Any) -> None:
    if type(value) is float and not math.isfinite(value):
        raise BadInput(_must(setting, "be a finite number", value))
    if setting.kind in (int, float) and abs(value) >= _LARGEST:
        raise BadInput(_must(setting, f"be {_KINDS[setting.kind]} below 2^63", value))
    meta = setting.meta
    if meta is None:
        return
    bounds = (
        (meta.ge, "≥", operator.ge),
        (meta.gt, ">", operator.gt),
        (meta.le, "≤", operator.le),
        (meta.lt, "<", operator.lt),
    )
    for bound, sign, holds in bounds:
        if bound is not None and not holds(value, bound):
            raise BadInput(_must(setting, f"be {sign} {bound:g}" if bound < 1e6 else f"be {sign} {bound}", value))
    if meta.min_length is not None and len(value) < meta.min_length:
        raise BadInput(_must(setting, "not be empty", value))
    if meta.max_length is not None and len(value) > meta.max_length:
        raise BadInput(_must(setting, f"have at most {meta.max_length} characters", value))


def _must(setting: Setting, what: str, value: object) -> str:
    shown = _yaml_word(value)
    hint = ""
    if isinstance(value, str):
        hint = did_you_mean(value, setting.choices) if setting.choices else ""
        hint = hint or (_number_hint(setting, value) if setting.kind in (int, float) else "")
    return f"{setting.name} must {what}, got {shown}{hint}"


def _number_hint(setting: Setting, text: str) -> str:
    """The remedy for a text that is no number; empty if it leads to a negative number that is refused as well."""
    lowest = None if setting.meta is None else setting.meta.ge if setting.meta.gt is None else setting.meta.gt
    return "" if text.startswith("-") and lowest is not None and lowest >= 0 else why_no_number(text)


def _yaml_word(value: object) -> str:
    """The value as in YAML."""
    if isinstance(value, str):
        return f"'{plain(value, 60)}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number of more than 64 bits"  # may have more digits than Python converts
    return f"{value}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def parse_override(argument: str) -> tuple[str, Any]:
    """``"batch_size=64"`` → ``("batch_size", 64)``, checked. Raises BadInput naming the argument."""
    name, equals, text = argument.partition("=")
    if not equals or not name:
        raise BadInput(f"'{plain(argument, 60)}': expected setting=value, for example batch_size=64")
    try:
        setting = find(name.strip())
        return setting.name, check(setting, _parse_value(setting, text.strip()))
    except BadInput as error:
        raise BadInput(f"{plain(without_secrets(argument), 60)}: {error}") from None


def parse_overrides(arguments: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings of ``setting=value`` arguments, checked, and a note for each old name among them.

    ``dataset=hf:NAME@TRAIN,VAL`` stands for several, see `hugging_face_names`.

    Raises BadInput naming the argument.
    """
    arguments = [part for argument in arguments for part in hugging_face_names.with_split_settings(argument)]
    names = {argument.partition("=")[0].strip(): plain(without_secrets(argument), 60) for argument in arguments}
    return dict(map(parse_override, arguments)), tuple(renamed_names.renamed_notes(names))


def _parse_value(setting: Setting, text: str) -> object:
    if setting.kind is str:
        return text
    try:
        value = load_word(text)
    except YAML_ERRORS:
        return text
    return text if isinstance(value, list | dict) else as_written(setting, value, text)


def as_written(setting: Setting, value: object, text: str) -> object:
    """`value`, read from the word `text`, or `text` where YAML's reading loses what a person may mean.

    Texts stay as they are written (``name: 010``, ``train_split: no``); ``1.000`` for a whole number has two readings.
    """
    if setting.kind is str and isinstance(value, bool | int | float):
        return text
    if setting.kind is int and type(value) is float and has_thousands_point(text):
        return Ambiguous(text)
    return value


def flatten(config: RunConfig) -> dict[str, Any]:
    """The configuration as a flat mapping from setting name to value, in the order of the table."""
    return {s.name: getattr(getattr(config, s.section) if s.section else config, s.name) for s in table().values()}


def build(values: Mapping[str, Any]) -> RunConfig:
    """A RunConfig of `values` by setting name, checked; others have their defaults. Raises BadInput."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        setting = find(name)
        parts.setdefault(setting.section, {})[setting.name] = check(setting, value)
    top = parts.pop(RUN_SECTION, {})
    nested = {f.name: f.type(**parts[f.name]) for f in msgspec.structs.fields(RunConfig) if f.name in parts}
    return RunConfig(**top, **nested)


def replace(config: RunConfig, **changes: Any) -> RunConfig:
    """`config` with some settings replaced by name. Raises BadInput."""
    return build({**flatten(config), **changes})


def changed(before: RunConfig, after: RunConfig, ignore: Iterable[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, as name → (before, after)."""
    first, second = flatten(before), flatten(after)
    return {n: (first[n], second[n]) for n in first if first[n] != second[n] and n not in set(ignore)}


def shown(value: object) -> str:
    """A setting's value as text: ``true``, ``0.05``, ``resnet50``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
