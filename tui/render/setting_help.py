"""All that is known of one setting, for ``gputrain-tui settings NAME``. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gputrain.engine.configuration import resume_changes
from gputrain.engine.configuration.settings import RUN_SECTION, Setting, shown
from gputrain.engine.events.commands import LIVE_SETTINGS

_KINDS = {bool: "true | false", int: "a whole number", float: "a number", str: "a text"}
_SIGNS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def help_rows(setting: Setting) -> Iterator[tuple[str, str]]:
    """(name, text) of what `setting` does, its values, its default, where it stands, and when it may change."""
    yield "what it does", setting.description
    yield "values", _values(setting)
    yield "default", "empty" if setting.default == "" else shown(setting.default)
    example = f"{setting.name}={'…' if setting.default == '' else shown(setting.default)}"
    yield "command line", f"gputrain-tui train … {example}"
    yield "in YAML", f"under {setting.section}:" if setting.section != RUN_SECTION else "at the top, without a section"
    yield "on resume", _on_resume(setting.name)
    if setting.name in LIVE_SETTINGS:
        yield "while it trains", "may change: key a in the dashboard, or autotune=true"


def _values(setting: Setting) -> str:
    if setting.choices:
        return " | ".join(setting.choices)
    meta, kind = setting.meta, _KINDS[setting.kind]
    if meta is None:
        return kind
    bounds = [f"{sign} {bound:g}" for name, sign in _SIGNS if (bound := getattr(meta, name)) is not None]
    if meta.min_length:
        bounds.append("not empty")
    if meta.max_length:
        bounds.append(f"at most {meta.max_length} characters")
    return ", ".join((kind, *bounds))


def _on_resume(name: str) -> str:
    if name in resume_changes.FIXED:
        return "may not change"
    if name in resume_changes.GLOBAL_BATCH:
        return "may change if batch_size × devices × accumulation_steps stays"
    if name in resume_changes.ROUNDING:
        return "may change; the training stays the same except for rounding"
    if name in resume_changes.FREE:
        return "may change; the training stays the same"
    return "may change; the training takes another course from there on"
