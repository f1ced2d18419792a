"""The ranks of one node: processes that its agent starts, watches and kills. Imports no torch."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
import psutil

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import decode_command
from gputrain.engine.nodes import rank_server
from gputrain.engine.nodes.meeting_address import interface_of, route_to
from gputrain.engine.nodes.node_messages import Start
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.orphans import adopt_orphans, die_with_parent
from gputrain.engine.processes.rank_environment import LOOPBACK, NODE_AGENT, MeetingPoint, RankInfo
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import trainer_main
from gputrain.engine.supervision.trainer_process import TrainerProcess, standard_streams_to

_KILL_SECONDS = 10.0
_CANCEL_SECONDS = 1.0


def _follow(info: RankInfo, directory: str) -> None:
    """Train as rank 1 or higher, in a process of its own."""
    die_with_parent()
    trainer_main.follow_launched(info, directory)


class NodeRanks:
    """The ranks of one start, forked by the rank server. They die with it, and it ends with this process."""

    def __init__(
        self,
        start: Start,
        run: RunDir,
        log: Path,
        listener: socket.socket | None,
        on_event: Callable[[bytes], None],
    ) -> None:
        """`run`: this node's run directory. `log`: for the ranks' output. `listener`: of the store, for rank 0.

        `on_event` gets the events of rank 0, on a thread. Raises OSError or EOFError if the rank server ends meanwhile.
        """
        adopt_orphans()
        rank_server.start(log)
        self._leader: TrainerProcess | None = None
        self._others: dict[int, BaseProcess] = {}
        self._reported: set[int] = set()
        config = msgspec.json.decode(start.config, type=RunConfig)
        port = start.port or (listener.getsockname()[1] if listener is not None else 0)
        interface, context = _interface(start), rank_server.context()
        for local in range(start.ranks):
            rank = start.first_rank + local
            meeting = MeetingPoint(start.address or LOOPBACK, port)
            info = RankInfo(rank, start.count, local, start.ranks, NODE_AGENT, meeting, interface)
            if rank == 0:
                self._leader = TrainerProcess(run, config, on_event, info, listener, log, context)
                continue
            process = context.Process(target=_follow, args=(info, str(run.directory)), name=f"rank {rank}")
            with standard_streams_to(log), scheduler_signals.blocked_signals():
                process.start()
            self._others[rank] = process
        if listener is not None:
            listener.close()

    def ended(self) -> list[tuple[int, int]]:
        """Rank and exit code of those that have ended since the last call; negative: the signal."""
        codes = {rank: process.exitcode for rank, process in self._others.items()}
        if self._leader is not None:
            codes[0] = self._leader.exit_code
        found = [(rank, code) for rank, code in codes.items() if code is not None and rank not in self._reported]
        self._reported.update(rank for rank, _ in found)
        if found and not rank_server.is_alive():
            # It took the exit codes with it.
            return [(rank, -signal.SIGKILL.value) for rank, _ in found]
        return found

    def last_events(self) -> list[bytes]:
        """Events of rank 0 that were not handed out before its end."""
        return self._leader.last_events() if self._leader is not None else []

    def send(self, command: bytes) -> None:
        """Hand a command to rank 0."""
        if self._leader is not None:
            self._leader.send(decode_command(command))

    @property
    def alive(self) -> bool:
        """Whether a rank still runs."""
        codes = [process.exitcode for process in self._others.values()]
        return None in codes or (self._leader is not None and self._leader.exit_code is None)

    def kill(self) -> None:
        """Kill the ranks and everything they started."""
        kill_descendants(keep_server=True)
        for process in self._others.values():
            process.join(_KILL_SECONDS)


class RankStart:
    """A start of the ranks on a thread of its own: it waits until the rank server has imported torch."""

    def __init__(self, start: Callable[[], NodeRanks]) -> None:
        self._start = start
        self.ranks: NodeRanks | None = None
        """The ranks, once they are started."""
        self.problem = ""
        """Why they can't be started."""
        self._thread = threading.Thread(target=self._run, name="rank start", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.ranks = self._start()
        except (OSError, EOFError) as error:
            self.problem = plain(str(error), 300) or type(error).__name__

    @property
    def over(self) -> bool:
        """Whether the ranks are started, or can't be."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Kill the rank server and what it has started, and wait for the end of the start."""
        while not self.over:
            kill_descendants()
            self._thread.join(_CANCEL_SECONDS)


def kill_descendants(*, keep_server: bool = False) -> None:
    """Kill all processes below this one; `keep_server`: but for the rank server."""
    kept = rank_server.pid() if keep_server else None
    below = psutil.Process().children(recursive=True)
    family = [one for one in below if one.pid != kept and not _is_resource_tracker(one)]
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(family, timeout=_KILL_SECONDS)


def _is_resource_tracker(process: psutil.Process) -> bool:
    # It serves the next start, too, and exits with the agent.
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _interface(start: Start) -> str:
    """The interface that leads to the other nodes: gloo and NCCL would ask the resolver for one. Empty: alone."""
    if not start.address:
        return ""
    return interface_of(start.address) if start.first_rank == 0 else route_to(start.address, start.port)


def node_directory(home: Path, run_id: str) -> RunDir:
    """The run directory of a node that does not share the supervisor's, made if it is not there. Raises OSError."""
    directory = home / "nodes" / run_id
    (directory / "checkpoints").mkdir(mode=0o700, parents=True, exist_ok=True)
    return RunDir(directory)
