"""What the terminal can show: by its locale as it was when this program was started, and what is printed elsewhere.

A Python that starts in the C locale, or in one that isn't installed, sets LC_CTYPE to a UTF-8 locale for itself (PEP
538). That tells nothing about the terminal, so the answer comes from the environment before.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_DEGRADE, _ESCAPE = "gputrain.ascii", "gputrain.json"
"""Names of the handlers of characters that an output has no code for."""
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python sets by itself."""


def original(environment: Mapping[str, str], begin: bytes) -> Mapping[str, str]:
    """`environment` without what Python did to it. `begin`: the environment at the start, as /proc tells it."""
    if environment.get("LC_CTYPE") not in _COERCED:
        return environment
    found = [entry.partition(b"=")[2] for entry in begin.split(b"\0") if entry.startswith(b"LC_CTYPE=")]
    return {**environment, "LC_CTYPE": os.fsdecode(found[0]) if found else ""}


def _environment() -> Mapping[str, str]:
    try:
        begin = Path("/proc/self/environ").read_bytes()
    except OSError:
        return os.environ
    return original(os.environ, begin)


def is_utf8(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the locale has UTF-8. Without any locale it counts as that, as for Python: containers seldom set one."""
    environment = _environment() if environment is None else environment
    for variable in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := environment.get(variable):
            return "utf-8" in value.lower() or "utf8" in value.lower()
    return True


def wants_ascii(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a screen can show only ASCII: the locale names another character set, or it is a bare console.

    A browser shows everything.
    """
    environment = _environment() if environment is None else environment
    if "web_driver" in environment.get("TEXTUAL_DRIVER", ""):
        return False
    return environment.get("TERM", "") in ("linux", "vt100", "vt220", "dumb") or not is_utf8(environment)


def prepare_output() -> None:
    """Let what is printed never fail for want of a character: its nearest likeness in ASCII is printed instead."""
    codecs.register_error(_DEGRADE, _degraded)
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # Files and pipes get what Python chose; a terminal gets what it can show.
        blind = stream.isatty() and codecs.lookup(stream.encoding).name == "utf-8" and not is_utf8()
        stream.reconfigure(encoding="ascii" if blind else None, errors=_DEGRADE)


def print_exactly() -> None:
    r"""Let JSON keep its characters, as ``\uXXXX`` where the output has no code for them. After `prepare_output`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPE)


def _degraded(error: UnicodeError) -> tuple[str, int]:
    from gputrain.tui.render.styled_lines import to_ascii  # its tables of widths are of no use to most commands

    assert isinstance(error, UnicodeEncodeError)
    return to_ascii(error.object[error.start : error.end]), error.end


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end
