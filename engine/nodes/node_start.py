"""Before a start on several nodes: who takes part, where they meet, which checkpoints they need, who computes what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from gputrain.engine.checkpointing.checkpoint_index import INDEX, CheckpointEntry, newest_first, read_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import global_batch, settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.nodes.checkpoint_copies import read_parts
from gputrain.engine.nodes.lost_nodes import Node
from gputrain.engine.nodes.meeting_address import is_loopback
from gputrain.engine.nodes.node_messages import AnyMessage, Missing, Offer, Offered, Part, Probe, Probed, Start, Stock
from gputrain.engine.runs.run_directory import RunDir

T = TypeVar("T")
_MEET_SECONDS = 20.0
_STOCK_SECONDS = 60.0
_BACKLOG = 8
Receive = Callable[[float], tuple[Node | None, AnyMessage | None]]
"""The next message of a node until a deadline; (None, None) at the deadline. Raises NodeLostError."""


class UnreachableError(Exception):
    """A node can't reach the first one."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def divided(config: RunConfig, nodes: int) -> RunConfig:
    """The settings for the ranks on so many nodes: `devices` counts all ranks, the images per update stay.

    Raises BadInput.
    """
    values = settings.flatten(config)
    total, count, size = global_batch.product(values), nodes * max(1, config.devices), config.data.batch_size
    if total % (count * size):
        size, steps = global_batch.divide(total, count, size)
    else:
        steps = total // (count * size)
    return settings.replace(config, devices=count, hosts="", batch_size=size, accumulation_steps=steps)


def fitting(config: RunConfig, nodes: list[Node], least: int) -> tuple[list[Node], RunConfig]:
    """As many of the nodes, at least `least`, as can divide an update's images; and the settings. Raises BadInput."""
    while True:
        try:
            return nodes, divided(config, len(nodes))
        except BadInput:
            if len(nodes) <= least:
                raise
            nodes = nodes[:-1]


def meet(nodes: list[Node], master_addr: str, receive: Receive) -> tuple[str, int]:
    """Address and port at which the first node waits and that the others reach; ("", 0) for a single node.

    Raises BadInput for a wrong `master_addr`, UnreachableError naming the node, NodeLostError.
    """
    if len(nodes) == 1:
        return "", 0
    first = nodes[0]
    if master_addr and is_loopback(master_addr):
        raise BadInput(
            f"master_addr: {plain(master_addr, 80)} is a loopback address, which no other host reaches; name another "
            f"address of {first.name}, or leave it out"
        )
    _send(first, Offer(address=master_addr))
    offered = _answers([first], Offered, receive)[0]
    if offered.problem:
        what = "master_addr" if master_addr else "hosts"
        raise BadInput(f"{what}: {first.name} {offered.problem}; set master_addr to one that the other hosts reach")
    others = nodes[1:]
    for node in others:
        _send(node, Probe(offers=offered.offers, token=offered.token))
    results = _answers(others, Probed, receive)
    for number, offer in enumerate(offered.offers):
        if all(not found.results[number] for found in results):
            return offer
    # The address that most nodes reach shows who is cut off.
    best = max(range(len(offered.offers)), key=lambda n: sum(not found.results[n] for found in results))
    node, found = next((n, f) for n, f in zip(others, results, strict=True) if f.results[best])
    tried = "; ".join(
        f"{address} ({why})" for (address, _), why in zip(offered.offers, found.results, strict=True) if why
    )
    raise UnreachableError(
        node,
        f"{node.name} can't reach {first.name} at {tried}; open the ports between the hosts, or set master_addr to "
        f"an address of {first.name} that all reach",
    )


def send_checkpoints(run: RunDir, nodes: list[Node], receive: Receive) -> None:
    """Give the nodes that do not share the run directory its checkpoints; but for the first, the newest alone."""
    entries = read_index(run.checkpoints)
    own = [node for node in nodes if node.ready is not None and not node.ready.shared]
    indexes = {node.name: _index(entries if node is nodes[0] else newest_first(entries)[:1]) for node in own}
    for node in own:
        _send(node, Stock(index=indexes[node.name]))
    for node, missing in zip(own, _answers(own, Missing, receive, _STOCK_SECONDS), strict=True):
        for part in _parts(run, missing.files, indexes[node.name]):
            while node.link is not None and node.link.backlog > _BACKLOG:
                receive(time.monotonic() + 0.01)
            _send(node, part)


def _index(entries: list[CheckpointEntry]) -> bytes:
    return msgspec.json.encode(entries)


def _parts(run: RunDir, files: tuple[str, ...], index: bytes) -> Iterator[Part]:
    named = {entry.file for entry in read_index(run.checkpoints)}
    for file in files:
        if file in named:
            yield from read_parts(run.checkpoints, file)
    yield Part(file=INDEX, data=index, first=True, last=True)


def described(nodes: list[Node], hosts: int, config: RunConfig, address: str) -> str:
    """Who of so many hosts takes part in a start, where they meet, and what each computes."""
    own = [node.name for node in nodes if node.ready is not None and not node.ready.shared]
    return (
        f"{config.devices} {'rank' if config.devices == 1 else 'ranks'} on {len(nodes)} of {hosts} hosts"
        f"{f' meet at {address}' if address else ''}: {', '.join(node.name for node in nodes)}; "
        f"batch_size {config.data.batch_size}, accumulation_steps {config.optim.accumulation_steps}"
        + (f"; without a shared run directory: {', '.join(own)}" if own else "")
    )


def start_ranks(config: RunConfig, nodes: list[Node], each: int, meeting: tuple[str, int]) -> None:
    """Start `each` ranks on every node; `config` as from `divided`."""
    encoded = msgspec.json.encode(config)
    for number, node in enumerate(nodes):
        start = Start(
            config=encoded,
            first_rank=number * each,
            ranks=each,
            count=each * len(nodes),
            address=meeting[0],
            port=meeting[1],
        )
        _send(node, start)


def _send(node: Node, message: AnyMessage) -> None:
    if node.link is not None:
        node.link.send(message)


def _answers(nodes: list[Node], kind: type[T], receive: Receive, seconds: float = _MEET_SECONDS) -> list[T]:
    """One answer of each node, in their order. Raises UnreachableError for one that does not answer in time."""
    found: dict[str, T] = {}
    deadline = time.monotonic() + seconds
    while missing := [node for node in nodes if node.name not in found]:
        node, message = receive(deadline)
        if node is None:
            raise UnreachableError(missing[0], f"{missing[0].name} did not answer within {seconds:.0f} s")
        if isinstance(message, kind):
            found[node.name] = message
    return [found[node.name] for node in nodes]
