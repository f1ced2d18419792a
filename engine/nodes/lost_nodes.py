"""The nodes of a run over all its restarts: connections, heartbeats, and new tries for lost nodes."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from msgspec.structs import replace

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.version import VERSION
from gputrain.engine.configuration.sections.host_list import Host, read_hosts
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.nodes.node_link import NodeLink
from gputrain.engine.nodes.node_messages import SHARED_FILE, AnyMessage, Begin, Ready
from gputrain.engine.runs.run_directory import RunDir

_START_SECONDS = 60.0
"""Time from the start of ssh to the agent's first answer, which imports the engine."""
_RETRY_SECONDS = 10.0
_MAX_DOUBLINGS = 6
_UNREACHABLE_LOSSES = 3
"""As many losses count for a node that the first one cannot reach, but this machine can."""
_POLL_SECONDS = 0.25
_ASLEEP_SECONDS = 2.0
"""A longer pause of the watch means that this machine slept, not the nodes."""


class NodeLostError(Exception):
    """A node is lost; the message says which one and why."""


@dataclass(slots=True)
class Node:
    """One host of the setting `hosts`."""

    host: Host
    link: NodeLink | None = None
    """None: lost."""
    ready: Ready | None = None
    tried: float = 0.0
    """When it was last tried to connect."""
    silent: bool = False
    """It was lost without an end of the connection: ssh would not reach it, either."""
    losses: int = 0
    """How often it was lost while it could train."""
    lost: str = ""
    """Why it is lost."""

    @property
    def name(self) -> str:
        """For messages."""
        return plain(self.host.text, 80)

    @property
    def pause(self) -> float:
        """Seconds until a lost node is tried again: longer each time, since each return is a restart."""
        return _RETRY_SECONDS * float(1 << min(max(0, self.losses - 1), _MAX_DOUBLINGS))

    @property
    def usable(self) -> bool:
        """It can be given ranks."""
        return self.link is not None and self.ready is not None and not self.ready.problem


class NodePool:
    """Connections to the nodes. Its methods are for one thread; messages come through `receive`."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self._run, self._config = run, config
        self._settings = config.distributed
        self._token = secrets.token_hex(16)
        self.nodes = [Node(host) for host in read_hosts(self._settings.hosts)]
        self._inbox: queue.Queue[tuple[Node, NodeLink, AnyMessage | None]] = queue.Queue()
        self._closing = threading.Event()
        self._connected_once = False

    @property
    def usable(self) -> list[Node]:
        """The nodes that can be given ranks, in the order of the setting."""
        return [node for node in self.nodes if node.usable]

    def open(self, check: Callable[[], None]) -> None:
        """Connect to all nodes and wait until each can train. Raises BadInput naming the first that can't, OSError.

        `check` is called again and again and may raise an exception of its own.
        """
        (self._run.directory / SHARED_FILE).write_text(self._token)
        for node in self.nodes:
            self._connect(node)
        threading.Thread(target=self._watch, name="nodes", daemon=True).start()
        deadline = time.monotonic() + _START_SECONDS
        while not all(node.ready for node in self.nodes):
            check()
            heard, _ = self.receive(min(deadline, time.monotonic() + _POLL_SECONDS))
            if heard is None:
                if time.monotonic() < deadline:
                    continue
                slow = next(node for node in self.nodes if not node.ready)
                raise BadInput(f"hosts: {slow.name} did not answer within {_START_SECONDS:.0f} s; is it overloaded?")
            if heard.link is None:
                raise BadInput(f"hosts: {heard.name}: {_remedy(heard, self._config)}")
        for node in self.nodes:
            assert node.ready is not None
            if node.ready.problem:
                raise BadInput(f"hosts: {node.name}: {node.ready.problem}")

    def _connect(self, node: Node) -> None:
        node.tried = time.monotonic()
        node.ready = None
        node.link = NodeLink(
            node.host, self._settings.remote_python, lambda link, message: self._inbox.put((node, link, message))
        )
        data_dir = self._config.data.data_dir
        node.link.send(
            Begin(
                run_id=self._run.id,
                directory=str(self._run.directory),
                token=self._token,
                timeout=self._settings.node_timeout,
                data_dir=data_dir,
            )
        )

    def receive(self, deadline: float) -> tuple[Node | None, AnyMessage | None]:
        """The next message and its node; no message: the node is lost. (None, None) at the deadline."""
        while True:
            try:
                node, link, message = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None, None
            if link is not node.link:
                continue  # of a connection before
            if message is None:
                if node.ready is not None:
                    node.losses += 1
                    node.tried = time.monotonic()
                node.lost, node.link, node.ready = link.lost, None, None
                node.silent = link.silent
                link.close()
                return node, None
            if isinstance(message, Ready):
                node.ready = self._judged(message)
            return node, message

    def _judged(self, ready: Ready) -> Ready:
        """With a problem where the node would not train like the others."""
        problem, devices = ready.problem, self._config.devices
        ours = version("torch")
        if ready.version != VERSION:
            problem = (
                f"it has gputrain-tui {plain(ready.version, 40)}, and this machine {VERSION}; install the same there"
            )
        elif ready.torch != ours and not problem:
            problem = f"it has torch {plain(ready.torch, 40)}, and this machine {ours}; install the same there"
        elif self._config.device.startswith("cuda") and ready.gpus < devices and not problem:
            problem = f"devices: {devices} need a GPU each, and it has {ready.gpus}; devices={max(1, ready.gpus)}"
        return replace(ready, problem=problem)

    def reconnect(self, check: Callable[[], None]) -> None:
        """Before a restart: connect again to nodes whose agent has ended.

        They join again later; if fewer than `min_nodes` are left, wait for them as long as at the first start.

        `check` is called again and again and may raise an exception of its own.
        """
        for node in self.nodes:
            if node.link is None and node.losses == 1 and not node.silent:
                self._connect(node)
        deadline = time.monotonic() + _START_SECONDS
        while len(self.usable) < self._settings.min_nodes and time.monotonic() < deadline:
            check()
            if not any(node.link is not None and node.ready is None for node in self.nodes):
                return
            self.receive(min(deadline, time.monotonic() + _POLL_SECONDS))

    def drop(self, node: Node, reason: str) -> None:
        """Count a node as lost that the other nodes do not reach."""
        node.losses += _UNREACHABLE_LOSSES
        node.tried = time.monotonic()
        if node.link is not None:
            link, node.link, node.ready, node.lost = node.link, None, None, reason
            link.close()

    def _watch(self) -> None:
        """Find nodes that are silent; connect again to lost ones."""
        last = time.monotonic()
        while not self._closing.wait(_POLL_SECONDS):
            now = time.monotonic()
            asleep, last = now - last > _ASLEEP_SECONDS, now
            for node in self.nodes:
                link = node.link
                if link is None:
                    if now - node.tried > node.pause and self._connected_once:
                        self._connect(node)
                    continue
                if asleep:
                    link.heard = now
                limit = self._settings.node_timeout if node.ready is not None else _START_SECONDS
                if (silent := now - link.heard) > limit:
                    link.give_up(f"no heartbeat for {silent:.0f} s")

    def retry_lost(self) -> None:
        """From now on connect again to nodes that are lost, again and again."""
        self._connected_once = True

    def close(self, *, keep: bool) -> None:
        """Let the agents end, and close the connections; `keep`: the nodes' own copies of checkpoints stay."""
        self._closing.set()
        links = [node.link for node in self.nodes if node.link is not None]
        threads = [threading.Thread(target=link.finish, args=(5.0, keep), daemon=True) for link in links]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(6.0)


def _remedy(node: Node, config: RunConfig) -> str:
    """Why the first connection failed, with what to do."""
    python = config.distributed.remote_python or "the same Python as here"
    reason = plain(node.lost, 300)
    if "No module named" in reason:
        return f"{reason}; install gputrain-tui there for {plain(python, 200)}, or name another with remote_python"
    if "not found" in reason or "No such file" in reason:
        return f"{reason}; name the Python there that has gputrain-tui with remote_python"
    return f"{reason}; try: ssh {node.host.ssh_name}{f' -p {node.host.port}' if node.host.port else ''} true"
