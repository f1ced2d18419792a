"""A command line as typed into a form: split into words as by a shell, or refused at the column that needs one."""

from __future__ import annotations

import re
import shlex

from gputrain.engine.common.errors import BadInput

_FOR_A_SHELL = re.compile(r"[|&;<>()$`*?]")
_AT_A_START = "~#"
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")


def words(text: str) -> list[str]:
    """The words of a command line; none if it is blank.

    Quotes and backslashes work as in a shell. No shell runs the command, so unquoted variables, patterns, pipes and
    redirections are refused instead of being passed on literally. Raises BadInput with the column, from 1.
    """
    _check(text)
    found = shlex.split(text)
    if found and _ASSIGNED.match(found[0]):
        raise BadInput(f"column 1: a variable is set by env: env {found[0].partition('=')[0]}=… COMMAND")
    return found


def _check(text: str) -> None:
    """Raises BadInput for a quote that stays open, and for what only a shell would do."""
    quote, opened, at, start = "", 0, 0, True
    while at < len(text):
        sign = text[at]
        if quote:
            if sign == "\\" and quote == '"':
                at += 1
            elif sign == quote:
                quote = ""
            elif quote == '"' and sign in "$`":
                raise BadInput(f"column {at + 1}: {_not_expanded(sign)}; in single quotes it stays as it is")
        elif sign in "'\"":
            quote, opened = sign, at
        elif sign == "\\":
            at += 1
            if at == len(text):
                raise BadInput(f"column {at}: nothing follows the backslash")
        elif _FOR_A_SHELL.match(sign) or (start and sign in _AT_A_START):
            raise BadInput(f"column {at + 1}: {_not_expanded(sign)}; quote it, or run it by: sh -c '…'")
        start = sign.isspace() and not quote
        at += 1
    if quote:
        raise BadInput(f"column {opened + 1}: the quote {quote} is not closed")


def _not_expanded(sign: str) -> str:
    return f"{sign} has a meaning in a shell, and none here"
