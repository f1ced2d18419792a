"""Hostile text for names, lines and events, and a check that output is harmless."""

from __future__ import annotations

from hypothesis import strategies as st

TEXTS = (
    "\x1b[2J\x1b]0;owned\x07",
    "\x1b]52;c;cHduZWQ=\x07",
    "\x9b31m",
    "[bold red]markup[/] [@click=app.exit]x[/]",
    "\u202etxt.exe\u202c",
    "a\x00b",
    "line\nbreak\r\nand \x08\x08back",
    "\ud800",
    "'; touch pwned; '$(touch pwned)`touch pwned`",
    "../../../etc/passwd",
    "%s%n {0} {x!r}",
    "日本語 🙂 é",
    "x" * 5000,
)

texts = st.sampled_from(TEXTS) | st.text(max_size=40) | st.builds("".join, st.lists(st.sampled_from(TEXTS[:6])))


def acts_on_a_terminal(shown: str) -> str:
    """The first character that a terminal or a bidirectional reader would act on; empty if there is none."""
    return next((c for c in shown if not (c.isprintable() or c in "\n")), "")
