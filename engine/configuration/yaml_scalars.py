"""How a plain word in YAML or on the command line becomes a number: by the grammar of `engine/common/numbers.py`.

YAML 1.1 reads ``010`` as 8, ``1:30`` as 90 and ``1e3`` as a text. Here ``1e3`` is 1000, dates are texts, and what has
two readings is refused by the setting that needs a number.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from gputrain.engine.common import numbers

_DOTTED_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_PREFIX = "tag:yaml.org,2002:"
_AMBIGUOUS_TAG = "!ambiguous"


class Ambiguous(str):
    """The text of a plain word that people and YAML 1.1 read as different numbers."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """The safe loader with the numbers of `numbers`; a date is a text, an ambiguous word is `Ambiguous`."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the class attribute that PyYAML reads
        first: [
            (tag, pattern) for tag, pattern in found if tag.removeprefix(_PREFIX) not in ("int", "float", "timestamp")
        ]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """The number of a node. Raises ConstructorError for an explicit tag (``!!int``) on something else."""
        text = self.construct_scalar(node)
        found = numbers.number(text)
        if found is None:
            raise yaml.constructor.ConstructorError(
                problem=f"'{text[:40]}' is not a number", problem_mark=node.start_mark
            )
        return float(found) if node.tag == f"{_PREFIX}float" else found

    def construct_ambiguous(self, node: yaml.ScalarNode) -> Ambiguous:
        """The text of a node with two readings."""
        return Ambiguous(self.construct_scalar(node))


for _tag, _pattern in (
    (f"{_PREFIX}int", numbers.INTEGER),
    (f"{_PREFIX}float", numbers.FLOAT),
    (f"{_PREFIX}float", _DOTTED_NOT_FINITE),
    (_AMBIGUOUS_TAG, numbers.TWO_READINGS),
):
    Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), list("-+0123456789."))
for _name in ("int", "float"):
    Loader.add_constructor(f"{_PREFIX}{_name}", Loader.construct_number)
Loader.add_constructor(_AMBIGUOUS_TAG, Loader.construct_ambiguous)


def load_word(text: str) -> Any:
    """The value of `text` as YAML. Raises what the safe loader raises."""
    return yaml.load(text, Loader=Loader)  # noqa: S506 - a subclass of the safe loader
