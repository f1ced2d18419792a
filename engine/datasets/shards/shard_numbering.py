"""Checks shards that are numbered (``train-00002-of-00005.parquet``): all of one set, and of one set only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown

_NUMBERED = re.compile(r"(?P<begin>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>[^/]*)", re.DOTALL)


def check_one_set(paths: Sequence[str], home: str, setting: str) -> None:
    """Raises BadInput if there are shards of two counts with one name: those of an earlier writing were left behind.

    `home` is the data folder, or its URL.
    """
    for sets in _sets(paths).values():
        if len(sets) > 1:
            (few, first), (many, second) = sorted(sets.items())[:2]
            pattern = _pattern(first[0], home)
            raise BadInput(
                f"{setting}: {shown(first[0])} is of {int(few)} shards, and {shown(second[0])} of {int(many)}: images "
                f"would count twice; remove the older ones, or name one set: {setting}='{pattern}'"
            )


def check_complete(paths: Sequence[str], home: str, setting: str) -> None:
    """Raises BadInput if shards of a set are missing."""
    for sets in _sets(paths).values():
        for count, found in sets.items():
            if len(found) < int(count):
                pattern = _pattern(found[0], home)
                raise BadInput(
                    f"{setting}: {len(found)} of the {int(count)} shards of {shown(found[0])} are there; copy the "
                    f"others, or use these alone: {setting}='{pattern}'"
                )


def _pattern(path: str, home: str) -> str:
    """The pattern of the shards of a set, relative to the data folder."""
    found = _NUMBERED.fullmatch(path.removeprefix(f"{home}/"))
    return plain(f"{found['begin']}-*-of-{found['count']}{found['end']}", 200) if found else ""


def _sets(paths: Sequence[str]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """The numbered shards by what is before and behind their numbers, and by their count."""
    sets: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        if found := _NUMBERED.fullmatch(path):
            sets[found["begin"], found["end"]][found["count"]].append(path)
    return sets
