"""Converts the key tables to Textual bindings."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding, BindingType

from gputrain.tui.layout.key_table import Key


def bindings(keys: Sequence[Key]) -> list[BindingType]:
    """The Textual bindings for `keys`."""
    return [Binding(key.keys, key.action, key.label, key_display=key.shown, tooltip=key.help) for key in keys]
