"""How a plain word in YAML or on the command line becomes a number: as a person reads it, or not at all.

YAML 1.1 reads ``010`` as 8, ``1:30`` as 90 and ``1e3`` as a text. Here ``1e3`` is 1000, dates are texts, and what has
two readings is refused by the setting that needs a number. Accepted: ``12``, ``+5``, ``1_000``, ``.5``, ``5.``,
``1e-3``, ``0x1f``, ``0o17``, ``0b101``.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_DIGITS = r"[0-9](?:_?[0-9])*"
_WHOLE = r"(?:0|[1-9](?:_?[0-9])*)"
_INTEGER = re.compile(rf"[-+]?(?:{_WHOLE}|0x[0-9a-fA-F](?:_?[0-9a-fA-F])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*)")
_FLOAT = re.compile(
    rf"[-+]?(?:{_WHOLE}\.(?:{_DIGITS})?(?:[eE][-+]?[0-9]+)?|\.{_DIGITS}(?:[eE][-+]?[0-9]+)?|{_WHOLE}[eE][-+]?[0-9]+)"
)
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_DOTTED_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TWO_READINGS = re.compile(rf"[-+]?(?:0[0-9_]+(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|{_DIGITS}(?::[0-9_]+)+(?:\.[0-9_]*)?)")
_PREFIX = "tag:yaml.org,2002:"
_AMBIGUOUS_TAG = "!ambiguous"


class Ambiguous(str):
    """The text of a plain word that people and YAML 1.1 read as different numbers."""

    __slots__ = ()


def number(text: str) -> int | float | None:
    """The number that `text` is; None if it is none, or has two readings. NaN and infinity are numbers here."""
    if _INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else None


def why_no_number(text: str) -> str:
    """A remedy for a text that should be a number, to be put behind it; empty if there is none."""
    if not _TWO_READINGS.fullmatch(text):
        return (
            "; write a decimal point, and no thousands separator" if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text) else ""
        )
    if ":" in text:
        return ": a number has no colon (YAML 1.1 would read minutes and seconds)"
    sign = text[:1] if text[:1] in "+-" else ""
    rest = text.removeprefix(sign).lstrip("0_")
    decimal = sign + (rest if rest[:1].isdigit() else f"0{rest}")
    octal = f" (or 0o{rest} for the octal number)" if re.fullmatch(r"[0-7]+", rest) else ""
    return f": write {decimal}{octal}"


class Loader(yaml.SafeLoader):
    """The safe loader with the numbers of this module; a date is a text, an ambiguous word is `Ambiguous`."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the class attribute that PyYAML reads
        first: [
            (tag, pattern) for tag, pattern in found if tag.removeprefix(_PREFIX) not in ("int", "float", "timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """The number of a node. Raises ConstructorError for an explicit tag (``!!int``) on something else."""
        text = self.construct_scalar(node)
        found = number(text)
        if found is None:
            raise yaml.constructor.ConstructorError(
                problem=f"'{text[:40]}' is not a number", problem_mark=node.start_mark
            )
        return float(found) if node.tag == f"{_PREFIX}float" else found

    def construct_ambiguous(self, node: yaml.ScalarNode) -> Ambiguous:
        """The text of a node with two readings."""
        return Ambiguous(self.construct_scalar(node))


for _tag, _pattern in (
    (f"{_PREFIX}int", _INTEGER),
    (f"{_PREFIX}float", _FLOAT),
    (f"{_PREFIX}float", _DOTTED_NOT_FINITE),
    (_AMBIGUOUS_TAG, _TWO_READINGS),
):
    Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), list("-+0123456789."))
for _name in ("int", "float"):
    Loader.add_constructor(f"{_PREFIX}{_name}", Loader.construct_number)
Loader.add_constructor(_AMBIGUOUS_TAG, Loader.construct_ambiguous)


def load_word(text: str) -> Any:
    """The value of `text` as YAML. Raises what the safe loader raises."""
    return yaml.load(text, Loader=Loader)  # noqa: S506 - a subclass of the safe loader
