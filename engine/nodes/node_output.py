"""What the nodes send while ranks run, in the supervisor's run directory: events, output of the ranks, checkpoints."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

from msgspec.structs import replace

from gputrain.engine import events
from gputrain.engine.checkpointing.checkpoint_index import INDEX, read_index
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, CheckpointSaved, ModelReady, NodeSample, RunEnded
from gputrain.engine.nodes.checkpoint_copies import CheckpointReceiver
from gputrain.engine.nodes.lost_nodes import Node
from gputrain.engine.nodes.node_messages import AnyMessage, FromRank, Log, Part
from gputrain.engine.runs.run_directory import RunDir


class NodeOutput:
    """Takes the messages of one start."""

    def __init__(self, run: RunDir, on_event: Callable[[bytes], None]) -> None:
        """`on_event` gets each encoded event, but for `RunEnded`."""
        self._run, self._on_event = run, on_event
        self.reported: RunEnded | None = None
        """Why rank 0 says that the run ended."""
        self._uncopied: list[CheckpointSaved] = []
        """Checkpoints that are on a node alone: they are announced once they have arrived."""
        self._receivers: dict[str, CheckpointReceiver] = {}
        self._own_host = plain(platform.node(), 80)

    def take(self, node: Node, message: AnyMessage) -> list[AnyEvent] | None:
        """Deal with a message. Returns the events that were handed out; None if it is another kind of message."""
        match message:
            case FromRank(event=raw):
                return self._take_event(node, raw)
            case Log(text=text):
                self._append_log(node, text)
                return []
            case Part():
                receiver = self._receivers.setdefault(node.name, CheckpointReceiver(self._run.checkpoints))
                receiver.take(message)
                return self._announce_copied() if message.file == INDEX and message.last else []
            case _:
                return None

    def _take_event(self, node: Node, raw: bytes) -> list[AnyEvent]:
        event = events.decode(raw)
        if isinstance(event, RunEnded):
            self.reported = event
            return []
        if isinstance(event, NodeSample) and event.host == self._own_host:
            # The supervisor samples this machine itself.
            return []
        if isinstance(event, ModelReady) and node.ready is not None:
            event = replace(event, host=node.ready.host)
            raw = events.encode(event)
        shared = node.ready is not None and node.ready.shared
        if isinstance(event, CheckpointSaved) and not shared and not self._has_copy(event):
            self._uncopied.append(event)
            return []
        self._on_event(raw)
        return [] if event is None else [event]

    def _has_copy(self, event: CheckpointSaved) -> bool:
        return any(entry.file == event.file for entry in read_index(self._run.checkpoints))

    def _announce_copied(self) -> list[AnyEvent]:
        arrived: list[AnyEvent] = [event for event in self._uncopied if self._has_copy(event)]
        self._uncopied = [event for event in self._uncopied if event not in arrived]
        for event in arrived:
            self._on_event(events.encode(event))
        return arrived

    def _append_log(self, node: Node, text: str) -> None:
        handle = os.open(self._run.trainer_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, "".join(f"[{node.name}] {line}\n" for line in text.splitlines()).encode())
        finally:
            os.close(handle)
