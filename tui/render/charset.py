"""Decides from the locale whether the terminal shows UTF-8, and replaces characters that an output cannot encode.

In the C locale, or in one that is not installed, Python sets LC_CTYPE to a UTF-8 locale for itself (PEP 538). That says
nothing about the terminal, so the environment from the start of the process decides.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_DEGRADE, _ESCAPE = "gputrain.ascii", "gputrain.json"
"""Names of the codec error handlers."""
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""Values that Python sets by itself."""


def original(environment: Mapping[str, str], begin: bytes) -> Mapping[str, str]:
    """`environment` without the change by Python. `begin`: the environment at process start, from /proc."""
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
    """Whether the locale uses UTF-8. Without a locale, as in most containers, UTF-8 is assumed, as in Python."""
    environment = _environment() if environment is None else environment
    for variable in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := environment.get(variable):
            return "utf-8" in value.lower() or "utf8" in value.lower()
    return True


def wants_ascii(environment: Mapping[str, str] | None = None) -> bool:
    """Whether to draw only ASCII: for another locale than UTF-8, and on the Linux console; never in a browser."""
    environment = _environment() if environment is None else environment
    if "web_driver" in environment.get("TEXTUAL_DRIVER", ""):
        return False
    return environment.get("TERM", "") in ("linux", "vt100", "vt220", "dumb") or not is_utf8(environment)


def prepare_output() -> None:
    """Make stdout and stderr print an ASCII replacement for characters that they cannot encode."""
    codecs.register_error(_DEGRADE, _degraded)
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # Files and pipes keep the encoding that Python chose; a terminal without UTF-8 gets ASCII.
        blind = stream.isatty() and codecs.lookup(stream.encoding).name == "utf-8" and not is_utf8()
        stream.reconfigure(encoding="ascii" if blind else None, errors=_DEGRADE)


def print_exactly() -> None:
    r"""Print characters that stdout cannot encode as ``\uXXXX``, for JSON. Call after `prepare_output`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPE)


def _degraded(error: UnicodeError) -> tuple[str, int]:
    from gputrain.tui.render.ascii_replacements import to_ascii  # imported here: most commands do not need it

    assert isinstance(error, UnicodeEncodeError)
    return to_ascii(error.object[error.start : error.end]), error.end


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end
