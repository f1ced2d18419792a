"""The ranks of one start on several nodes, as the supervisor's child process: begin, events, faults, end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from gputrain.engine import events
from gputrain.engine.common.errors import EXIT_FAILED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import AnyEvent, CheckpointSaved, Notice, Outcome, Phase, PhaseChanged, RunEnded, Steps
from gputrain.engine.events.commands import AnyCommand, CheckpointCommand, StopCommand, encode_command
from gputrain.engine.nodes import node_start
from gputrain.engine.nodes.lost_nodes import Node, NodeLostError, NodePool
from gputrain.engine.nodes.node_messages import (
    AnyMessage,
    Command,
    Ended,
    Halt,
    Halted,
    Ready,
)
from gputrain.engine.nodes.node_output import NodeOutput
from gputrain.engine.nodes.node_start import UnreachableError
from gputrain.engine.processes.rank_events import RANK_LOST
from gputrain.engine.runs.run_directory import RunDir

_POLL_SECONDS = 0.5
_CAUSE_SECONDS = 8.0
"""Time until rank 0 has told why it or another rank failed."""
_END_SECONDS = 60.0
"""Time for all ranks to end, and for the last checkpoint to arrive, after rank 0 has ended."""
_BAD_INPUT = "BadInput: "


class _StoppedError(Exception):
    """A stop was requested while no ranks run."""


class _TooFewError(Exception):
    """Fewer nodes are left than `min_nodes`."""


class NodeGroup:
    """One start. A thread of its own leads it; see `ChildProcess` for the methods."""

    pid: int | None = None
    """The processes run elsewhere."""

    def __init__(
        self, pool: NodePool, run: RunDir, config: RunConfig, on_event: Callable[[bytes], None], *, first: bool
    ) -> None:
        """`first`: all hosts must take part; else those that can, at least `min_nodes`."""
        self._pool, self._run, self._config, self._first = pool, run, config, first
        self._on_event = on_event
        self.killed_on_request = False
        self.exit_code: int | None = None
        self._nodes: list[Node] = []
        self._returned: set[str] = set()
        """Lost nodes that are back."""
        self._asked = False
        """A checkpoint was requested for them."""
        self._output = NodeOutput(run, on_event)
        self._ranks_ended: dict[int, Ended] = {}
        self._started = False
        """The ranks were started: rank 0 takes commands."""
        self._stop: StopCommand | None = None
        """A stop that was requested."""
        self._halt = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._lead, name="node group", daemon=True)
        self._thread.start()

    def watch(self, on_exit: Callable[[], None]) -> None:
        """See `ChildProcess`."""

        def wait() -> None:
            self._done.wait()
            on_exit()

        threading.Thread(target=wait, name="node group watch", daemon=True).start()

    def drain(self) -> Iterator[bytes]:
        """Nothing: all events were handed out."""
        return iter(())

    def send(self, command: AnyCommand) -> str:
        """See `ChildProcess`."""
        if isinstance(command, StopCommand):
            self._stop = command
        link = self._nodes[0].link if self._started else None
        if link is None or self._done.is_set():
            return "the ranks do not run now"
        link.send(Command(command=encode_command(command)))
        return f"sent to rank 0 on {self._nodes[0].name}"

    def kill(self) -> None:
        """See `ChildProcess`."""
        self.killed_on_request = True
        self._halt.set()

    def _lead(self) -> None:
        ended: RunEnded | None = None
        try:
            ended = self._train()
        except BadInput as error:
            text = plain(str(error), 1000)
            ended = RunEnded(outcome=Outcome.FAILED, reason=text, error=_BAD_INPUT + text)
        except _TooFewError as error:
            text = plain(str(error), 1000)
            ended = RunEnded(outcome=Outcome.FAILED, reason=text, error=f"TooFewNodes: {text}")
        except _StoppedError:
            preempted = self._stop is not None and self._stop.preempt
            ended = RunEnded(outcome=Outcome.STOPPED, reason="stopped on request", preempted=preempted)
        except NodeLostError as error:
            ended = RunEnded(outcome=Outcome.KILLED, reason=plain(str(error), 1000))
        except Exception as error:  # noqa: BLE001 - every exception is reported as the run's end
            text = plain(f"{type(error).__name__}: {error}", 1000)
            ended = RunEnded(outcome=Outcome.FAILED, reason=f"the nodes failed with {text}", error=text)
        lost: list[Node] = []
        with contextlib.suppress(OSError, BadInput):
            lost = self._clear()
        if lost and (ended.outcome is Outcome.KILLED or ended.error.startswith(RANK_LOST)):
            # The rest follows from that.
            node = f"node {lost[0].name} is lost: {plain(lost[0].lost, 300)}"
            reason = ended.reason if ended.reason.startswith(node) else f"{node}; {ended.reason}"
            ended = replace(ended, outcome=Outcome.KILLED, reason=reason, error="")
        self._emit(ended)
        code = 0 if ended.outcome in (Outcome.FINISHED, Outcome.STOPPED) else EXIT_FAILED
        self.exit_code = -signal.SIGKILL.value if self.killed_on_request else code
        self._done.set()

    def _emit(self, event: AnyEvent) -> None:
        self._on_event(events.encode(event))

    def _notice(self, text: str) -> None:
        self._emit(Notice(level="info", text=plain(text, 500), source="supervisor"))

    def _train(self) -> RunEnded:
        if self._first:
            hosts = ", ".join(node.name for node in self._pool.nodes)
            self._emit(PhaseChanged(phase=Phase.STARTING, detail=f"connecting to {hosts}"))
            self._pool.open(self._check_stop)
        else:
            self._pool.reconnect(self._check_stop)
        nodes, config, meeting = self._gather()
        try:
            node_start.send_checkpoints(self._run, nodes, self._receive)
        except UnreachableError as error:
            self._pool.drop(error.node, str(error))
            raise NodeLostError(f"node {error}") from None
        self._notice(node_start.described(nodes, len(self._pool.nodes), config, meeting[0]))
        each = config.devices // len(nodes)
        node_start.start_ranks(config, nodes, each, meeting)
        self._started = True
        self._pool.retry_lost()
        return self._until_end(config.devices)

    def _gather(self) -> tuple[list[Node], RunConfig, tuple[str, int]]:
        """The nodes of this start, their settings, and where they meet. Raises BadInput, NodeLostError."""
        least = self._config.distributed.min_nodes
        while True:
            nodes = self._pool.usable
            if not self._first and len(nodes) < least:
                lost = "; ".join(f"{node.name}: {node.lost}" for node in self._pool.nodes if not node.usable)
                raise _TooFewError(
                    f"min_nodes: {len(nodes)} of {len(self._pool.nodes)} hosts are left, {least} are needed ({lost}); "
                    f"start the run again when they are back: gputrain-tui resume {self._run.id}"
                )
            nodes, config = node_start.fitting(self._config, nodes, len(nodes) if self._first else least)
            self._nodes = nodes
            try:
                return nodes, config, node_start.meet(nodes, self._config.distributed.master_addr, self._receive)
            except UnreachableError as error:
                if self._first:
                    raise BadInput(f"hosts: {error}") from None
                self._notice(f"{error}; going on without it")
                self._pool.drop(error.node, str(error))
            except NodeLostError:
                if self._first:
                    raise

    def _receive(self, deadline: float) -> tuple[Node | None, AnyMessage | None]:
        """The next message that is not dealt with here. Raises NodeLostError if a node of this start is lost."""
        while True:
            self._check_stop()
            node, message = self._pool.receive(deadline)
            if node is None:
                return None, None
            if message is None:
                if node in self._nodes:
                    raise NodeLostError(f"node {node.name} is lost: {node.lost}")
                return node, None
            if not self._take(node, message):
                return node, message

    def _check_stop(self) -> None:
        if self._halt.is_set() or (self._stop is not None and not self._started):
            raise _StoppedError

    def _take(self, node: Node, message: AnyMessage) -> bool:
        """Deal with what comes at any time; returns whether it was that."""
        found = self._output.take(node, message)
        for event in found or ():
            self._rejoin(event)
        return found is not None

    def _rejoin(self, event: AnyEvent) -> None:
        """After a step and a checkpoint start again with the nodes that are back. Raises NodeLostError for that."""
        if self._stop is not None:
            return
        if isinstance(event, Steps) and self._returned and not self._asked:
            # Not before a step: a restart must have made progress.
            self._asked = True
            self.send(CheckpointCommand(sender="the supervisor"))
        elif isinstance(event, CheckpointSaved) and self._asked:
            back = " and ".join(sorted(self._returned))
            raise NodeLostError(f"{back} is back: starting again with it from the checkpoint of step {event.step}")

    def _until_end(self, count: int) -> RunEnded:
        """Wait until the ranks have ended or one is lost. Returns how they ended. Raises NodeLostError."""
        due = float("inf")
        while True:
            now = time.monotonic()
            if now >= due:
                return self._failure()
            node, message = self._receive(min(now + _POLL_SECONDS, due))
            if isinstance(message, Ready) and node is not None and node not in self._nodes:
                self._welcome(node)
            if not isinstance(message, Ended) or node is None:
                continue
            self._ranks_ended[message.rank] = message
            reported = self._output.reported
            done = reported is not None and reported.outcome in (Outcome.FINISHED, Outcome.STOPPED)
            if message.code < 0 and not done:
                killer = (
                    "the kernel's OOM killer" if message.oom else f"{signal.Signals(-message.code).name} from outside"
                )
                raise NodeLostError(f"rank {message.rank} on {node.name} was killed by {killer}")
            if message.rank == 0:
                if reported is not None and not reported.error.startswith(RANK_LOST):
                    return self._after_end(count)
                due = min(due, now + _CAUSE_SECONDS)
            elif message.code not in (0, 75):
                due = min(due, now + _CAUSE_SECONDS)

    def _after_end(self, count: int) -> RunEnded:
        """Rank 0 has reported its end: wait for the others, a while."""
        reported = self._output.reported
        assert reported is not None
        if reported.outcome in (Outcome.FINISHED, Outcome.STOPPED):
            deadline = time.monotonic() + _END_SECONDS
            with contextlib.suppress(NodeLostError):
                while len(self._ranks_ended) < count and time.monotonic() < deadline:
                    _, message = self._receive(min(deadline, time.monotonic() + _POLL_SECONDS))
                    if isinstance(message, Ended):
                        self._ranks_ended[message.rank] = message
        return reported

    def _failure(self) -> RunEnded:
        if self._output.reported is not None:
            return self._output.reported
        rank, ended = next((rank, ended) for rank, ended in self._ranks_ended.items() if ended.code)
        reason = f"rank {rank} exited with code {ended.code} without an error message; see trainer.log"
        return RunEnded(outcome=Outcome.FAILED, reason=reason, exit_code=ended.code)

    def _welcome(self, node: Node) -> None:
        """A lost node is back: it joins at the next checkpoint."""
        if not node.usable:
            assert node.ready is not None
            return
        try:
            node_start.divided(self._config, len(self._nodes) + 1)
        except BadInput as error:
            self._notice(f"{node.name} is back and can't join: {error}")
            return
        self._returned.add(node.name)
        self._notice(f"{node.name} is back: it joins after the next checkpoint")

    def _clear(self) -> list[Node]:
        """Kill what is left of the ranks. Returns nodes that were lost since the start, or do not answer."""
        self._halt.clear()
        lost = [node for node in self._nodes if node.link is None]
        waiting = {node.name: node for node in self._pool.nodes if node.usable}
        for node in waiting.values():
            assert node.link is not None
            node.link.send(Halt())
        deadline = time.monotonic() + self._config.distributed.node_timeout + _END_SECONDS
        while waiting and time.monotonic() < deadline:
            heard, message = self._pool.receive(time.monotonic() + _POLL_SECONDS)
            if heard is None:
                continue
            if message is None or isinstance(message, Halted):
                waiting.pop(heard.name, None)
                if message is None and heard in self._nodes:
                    lost.append(heard)
                continue
            with contextlib.suppress(NodeLostError):
                self._take(heard, message)
        return lost
