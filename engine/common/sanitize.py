"""Sanitizes text from files, users and other processes before it is shown or stored."""

from __future__ import annotations

import re
import unicodedata

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[@-Z\\-_]|[ -/]+[0-~])", re.DOTALL)
# Bidirectional controls reorder what is around them; zero-width marks hide text in names.
_HIDDEN = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def plain(text: str, limit: int = 4096) -> str:
    """Return `text` as one line without escape sequences, control or bidirectional characters.

    Tabs and line breaks become single spaces. Longer text is cut to `limit` characters, the last an
    ellipsis. At most 4 × `limit` characters are read, so a 10 MB line is cheap.
    """
    cut = len(text) > 4 * limit
    text = _ESCAPE.sub("", text[: 4 * limit])
    text = _HIDDEN.sub("", text.replace("\t", " ").replace("\r\n", " ").replace("\n", " "))
    text = "".join(c if c.isprintable() or c == " " else _replacement(c) for c in text)
    return text[: limit - 1] + "…" if cut or len(text) > limit else text


def _replacement(character: str) -> str:
    """A visible replacement for an unprintable character; empty for control codes."""
    if unicodedata.category(character) in ("Cc", "Cf"):
        return ""
    return "\ufffd" if unicodedata.category(character) in ("Cs", "Co", "Cn") else " "
