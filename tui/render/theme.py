"""Color roles and themes. Colors never carry information that no text or sign shows, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from rich.color import Color as RichColor
from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

Role = Literal[
    "text",
    "dim",
    "bright",
    "title",
    "good",
    "warn",
    "bad",
    "data",
    "compute",
    "copy",
    "track",
    "frame",
    "focus",
    "reverse",
]

NIGHT = Theme(
    name="gputrain-night",
    primary="#7aa2f7",
    secondary="#7dcfff",
    accent="#7aa2f7",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#a9b1d6",
    background="#16161e",
    surface="#16161e",
    panel="#1f2335",
    dark=True,
    variables={"border-blurred": "#343b58"},
)
DAY = Theme(
    name="gputrain-day",
    primary="#2e5aa8",
    secondary="#00708a",
    accent="#2e5aa8",
    warning="#8f5e15",
    error="#b3283c",
    success="#3d6b1f",
    foreground="#343b58",
    background="#f4f4f6",
    surface="#f4f4f6",
    panel="#e2e3e8",
    dark=False,
    variables={"border-blurred": "#b8bccb"},
)
TERMINAL = replace(BUILTIN_THEMES["ansi-dark"], name="gputrain-terminal")
THEMES = (NIGHT, DAY, TERMINAL)
"""TERMINAL uses the 16 colors of the terminal: fewest bytes, and the only theme that works with `NO_COLOR`."""

Palette = Mapping[Role, Style]

_FOREGROUNDS: dict[str, dict[Role, str]] = {
    NIGHT.name: {
        "text": "#a9b1d6",
        "dim": "#636b94",
        "bright": "#d5daf0",
        "title": "#7aa2f7",
        "good": "#9ece6a",
        "warn": "#e0af68",
        "bad": "#f7768e",
        "data": "#7dcfff",
        "compute": "#9ece6a",
        "copy": "#bb9af7",
        "track": "#2a2f47",
        "frame": "#3b4261",
        "focus": "#7aa2f7",
    },
    DAY.name: {
        "text": "#343b58",
        "dim": "#767c93",
        "bright": "#14161f",
        "title": "#2e5aa8",
        "good": "#3d6b1f",
        "warn": "#8f5e15",
        "bad": "#b3283c",
        "data": "#00708a",
        "compute": "#3d6b1f",
        "copy": "#6f3fb0",
        "track": "#cfd2dc",
        "frame": "#b8bccb",
        "focus": "#2e5aa8",
    },
    TERMINAL.name: {
        "text": "default",
        "dim": "bright_black",
        "bright": "default",
        "title": "blue",
        "good": "green",
        "warn": "yellow",
        "bad": "red",
        "data": "cyan",
        "compute": "green",
        "copy": "magenta",
        "track": "bright_black",
        "frame": "bright_black",
        "focus": "blue",
    },
}
_MONO: dict[Role, Style] = {
    "text": Style(),
    "dim": Style(dim=True),
    "bright": Style(bold=True),
    "title": Style(bold=True),
    "good": Style(),
    "warn": Style(bold=True),
    "bad": Style(bold=True, reverse=True),
    "data": Style(),
    "compute": Style(),
    "copy": Style(),
    "track": Style(dim=True),
    "frame": Style(dim=True),
    "focus": Style(bold=True),
    "reverse": Style(reverse=True),
}


def palette(theme: Theme, background: RichColor, mono: bool) -> Palette:
    """The style of each role on `background`. `mono`: without colors, for `NO_COLOR`."""
    if mono:
        return _MONO
    # Other themes, which the user may choose, provide only some colors.
    own = _FOREGROUNDS.get(theme.name) or _from_theme(theme)
    styles: dict[Role, Style] = {
        role: Style(color=color, bgcolor=background, bold=role in ("bright", "bad")) for role, color in own.items()
    }
    styles["reverse"] = styles["title"] + Style(reverse=True)
    return styles


def _from_theme(theme: Theme) -> dict[Role, str]:
    base = _FOREGROUNDS[NIGHT.name if theme.dark else DAY.name]
    lent: dict[Role, str | None] = {"good": theme.success, "warn": theme.warning, "bad": theme.error}
    # Rich does not know Textual's color names such as ansi_red.
    return base | {role: color for role, color in lent.items() if color and color.startswith("#")}
