"""Compares what all ranks found on their nodes, and says in words what is wrong, with node, figure and remedy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from gputrain.engine.common.units import GIB, size
from gputrain.engine.node_check.rank_facts import MOST_NAMES, RankFacts

CLOCK_SECONDS = 1.0
"""Clocks that differ more mix up the order of what several nodes record."""
_BUSY_BYTES = GIB
"""The driver itself takes some hundred MiB."""


class Finding(Struct, frozen=True):
    """Something that is wrong on a node."""

    level: Literal["warning", "error"]
    """An error keeps the run from starting."""
    text: str


def compare(ranks: Sequence[RankFacts], clocks: Sequence[float], *, resumes: bool) -> list[Finding]:
    """The findings for `ranks`, in order of rank; `clocks`: the time that each read at the same moment.

    `resumes`: every rank must read a checkpoint in the run directory.
    """
    found = [*_different(ranks), *_data(ranks), *_run_directory(ranks, resumes=resumes), *_gpus(ranks)]
    for one, clock in zip(ranks, clocks, strict=True):
        if abs(off := clock - clocks[0]) > CLOCK_SECONDS:
            text = f"{_who(one)}: its clock is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} rank 0's"
            found.append(Finding("warning", f"{text}; synchronise it (chrony, systemd-timesyncd)"))
    return found


def in_order(ranks: Sequence[RankFacts], clocks: Sequence[float], seconds: float) -> str:
    """One sentence for ranks without a finding; `seconds`: how long the check took."""
    hosts = len({one.host for one in ranks})
    data = f" and data ({ranks[0].names}{'+' if ranks[0].names == MOST_NAMES else ''} names)" if ranks[0].data else ""
    apart = max(clocks) - min(clocks)
    return (
        f"{len(ranks)} ranks on {hosts} {'nodes' if hosts > 1 else 'node'} checked in {seconds:.1f} s: same code, "
        f"{ranks[0].torch}, settings{data}; clocks within {apart * 1000:.0f} ms"
    )


def _who(one: RankFacts) -> str:
    return f"rank {one.rank} on {one.host}"


_Same = tuple[str, Callable[[RankFacts], str], Callable[[RankFacts], str], str]
_SAME: tuple[_Same, ...] = (
    ("code", lambda one: one.code, lambda one: "other source of gputrain", "install the same version on all nodes"),
    ("own code", lambda one: one.own_code, lambda one: "other source in code_dir", "copy the same files to all nodes"),
    ("torch", lambda one: one.torch, lambda one: one.torch, "use the same environment on all nodes"),
    ("Python", lambda one: one.python, lambda one: f"Python {one.python}", "use the same environment on all nodes"),
    ("settings", lambda one: one.settings, lambda one: "other settings", "install the same version on all nodes"),
    ("world size", lambda one: str(one.world_size), lambda one: f"a world of {one.world_size} ranks",
     "start all ranks with the same number"),
)  # fmt: skip
"""Name, what must be the same, how it is described, remedy."""


def _different(ranks: Sequence[RankFacts]) -> Iterator[Finding]:
    """The ranks that differ from rank 0, by what differs."""
    for name, value, described, remedy in _SAME:
        others = [one for one in ranks if value(one) != value(ranks[0])]
        if not others:
            continue
        first = others[0]
        more = f" (and {len(others) - 1} more ranks)" if len(others) > 1 else ""
        level: Literal["warning", "error"] = "warning" if name == "Python" else "error"
        theirs, own = described(first), described(ranks[0])
        against = f", rank 0 on {ranks[0].host} {own}" if own != theirs else f" than rank 0 on {ranks[0].host}"
        yield Finding(level, f"{name}: {_who(first)}{more} has {theirs}{against}; {remedy}")


def _data(ranks: Sequence[RankFacts]) -> Iterator[Finding]:
    for one in ranks:
        if one.data_error:
            yield Finding("error", f"{_who(one)} can't read the data: {one.data_error}; copy or mount it there")
        elif one.data != ranks[0].data and not ranks[0].data_error:
            figures = f"{one.names} names" if one.names != ranks[0].names else "other names"
            most = f" (of the first {MOST_NAMES})" if MOST_NAMES in (one.names, ranks[0].names) else ""
            yield Finding(
                "error",
                f"data_dir: {_who(one)} sees {figures}{most}, rank 0 on {ranks[0].host} {ranks[0].names}; "
                "all ranks need the same files",
            )


def _run_directory(ranks: Sequence[RankFacts], *, resumes: bool) -> Iterator[Finding]:
    """A run directory that other nodes don't share matters only where they read a checkpoint from it."""
    level: Literal["warning", "error"] = "error" if resumes else "warning"
    for one in ranks[1:]:
        if one.run_config != ranks[0].run_config:
            what = "does not see the run directory" if not one.run_config else "sees another run directory"
            yield Finding(level, f"{_who(one)} {what}; set GPUTRAIN_HOME to a folder that all nodes share")
        elif one.run_error:
            yield Finding(level, f"{_who(one)} can't write the run directory: {one.run_error}")


def _gpus(ranks: Sequence[RankFacts]) -> Iterator[Finding]:
    for one in ranks:
        if one.gpu_error:
            yield Finding("error", f"{_who(one)} has no GPU: {one.gpu_error}")
        elif one.gpu_used > _BUSY_BYTES:
            of = f" of {size(one.gpu_memory)}" if one.gpu_memory else ""
            text = f"{_who(one)}: other programs use {size(one.gpu_used)}{of} of its GPU's memory"
            yield Finding("warning", f"{text}; nvidia-smi on {one.host} names them")
