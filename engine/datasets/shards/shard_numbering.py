"""Checks shards that are numbered (``train-00002-of-00005.parquet``): all of one set, and of one set only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown

_NUMBERED = re.compile(
    r"(?P<begin>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<hash>-[0-9a-f]{8,64}(?=\.))?(?P<end>[^/]*)", re.DOTALL
)
"""Older versions of Hugging Face's datasets wrote a hash of its content into each shard's name."""
_Sets = dict[tuple[str, str], dict[str, list[re.Match[str]]]]


def check_one_set(paths: Sequence[str], home: str, setting: str) -> None:
    """Raises BadInput if there are shards of two sets with one name: those of an earlier writing were left behind.

    `home` is the data folder, or its URL.
    """
    for sets in _sets(paths).values():
        if len(sets) > 1:
            first, second = (found[0] for _, found in sorted(sets.items())[:2])
            raise BadInput(
                f"{setting}: {shown(first[0])} is of {int(first['count'])} shards, and {shown(second[0])} of "
                f"{int(second['count'])}: images would count twice; remove the older ones, or name one set: "
                f"{setting}='{_pattern(first, home)}'"
            )
        for found in sets.values():
            numbers: dict[str, str] = {}
            for shard in found:
                other = numbers.setdefault(shard["number"], shard[0])
                if other != shard[0]:
                    raise BadInput(
                        f"{setting}: {shown(other)} and {shown(shard[0])} have the same number: images would count "
                        "twice; remove the older ones"
                    )


def check_complete(paths: Sequence[str], home: str, setting: str) -> None:
    """Raises BadInput if shards of a set are missing."""
    for sets in _sets(paths).values():
        for count, found in sets.items():
            if len(found) < int(count):
                raise BadInput(
                    f"{setting}: {len(found)} of the {int(count)} shards of {shown(found[0][0])} are there; copy the "
                    f"others, or use these alone: {setting}='{_pattern(found[0], home)}'"
                )


def _pattern(shard: re.Match[str], home: str) -> str:
    """The pattern of the shards of a set, relative to the data folder."""
    begin = shard["begin"].removeprefix(f"{home}/")
    return plain(f"{begin}-*-of-{shard['count']}{'-*' if shard['hash'] else ''}{shard['end']}", 200)


def _sets(paths: Sequence[str]) -> _Sets:
    """The numbered shards by what is before and behind their numbers, and by their count."""
    sets: _Sets = defaultdict(lambda: defaultdict(list))
    for path in paths:
        if found := _NUMBERED.fullmatch(path):
            sets[found["begin"], found["end"]][found["count"]].append(found)
    return sets
