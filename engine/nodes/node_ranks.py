"""The ranks of one node: processes that its agent starts, watches and kills. Imports no torch."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
import psutil

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import decode_command
from gputrain.engine.nodes.meeting_address import interface_of, route_to
from gputrain.engine.nodes.node_messages import Start
from gputrain.engine.processes import scheduler_signals
from gputrain.engine.processes.orphans import adopt_orphans, die_with_parent
from gputrain.engine.processes.rank_environment import LOOPBACK, NODE_AGENT, MeetingPoint, RankInfo
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import trainer_main
from gputrain.engine.supervision.trainer_process import TrainerProcess, standard_streams_to

_KILL_SECONDS = 10.0
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def _follow(info: RankInfo, directory: str) -> None:
    """Train as rank 1 or higher, in a process of its own."""
    die_with_parent()
    trainer_main.follow_launched(info, directory)


class NodeRanks:
    """The ranks of one start. Create it on the main thread: they die with the thread that started them."""

    def __init__(
        self,
        start: Start,
        run: RunDir,
        log: Path,
        listener: socket.socket | None,
        given: frozenset[str],
        on_event: Callable[[bytes], None],
    ) -> None:
        """`run`: this node's run directory. `log`: for the ranks' output. `listener`: of the store, for rank 0.

        `given`: variables that the user has set; they stay. `on_event` gets the events of rank 0, on a thread. Raises
        OSError.
        """
        adopt_orphans()
        self._leader: TrainerProcess | None = None
        self._others: dict[int, BaseProcess] = {}
        self._reported: set[int] = set()
        config = msgspec.json.decode(start.config, type=RunConfig)
        _set_interface(start, given)
        context = multiprocessing.get_context("spawn")
        for local in range(start.ranks):
            rank = start.first_rank + local
            meeting = MeetingPoint(start.address or LOOPBACK, start.port)
            info = RankInfo(rank, start.count, local, start.ranks, NODE_AGENT, meeting)
            if rank == 0:
                self._leader = TrainerProcess(run, config, on_event, info, listener, log)
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
        kill_descendants()
        for process in self._others.values():
            process.join(_KILL_SECONDS)


def kill_descendants() -> None:
    """Kill all processes below this one."""
    family = [one for one in psutil.Process().children(recursive=True) if not _is_resource_tracker(one)]
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


def _set_interface(start: Start, given: frozenset[str]) -> None:
    """Name the interface that leads to the other nodes: gloo and NCCL would ask the resolver for one."""
    name = ""
    if start.address:
        name = interface_of(start.address) if start.first_rank == 0 else route_to(start.address, start.port)
    for variable in _INTERFACES:
        if variable in given:
            continue
        if name:
            os.environ[variable] = name
        else:
            os.environ.pop(variable, None)


def node_directory(home: Path, run_id: str) -> RunDir:
    """The run directory of a node that does not share the supervisor's, made if it is not there. Raises OSError."""
    directory = home / "nodes" / run_id
    (directory / "checkpoints").mkdir(mode=0o700, parents=True, exist_ok=True)
    return RunDir(directory)
