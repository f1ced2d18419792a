"""Entry point of a trainer process. This module imports neither torch nor TensorFlow; `run` does."""

from __future__ import annotations

import dataclasses
import faulthandler
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_PREEMPTED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.engine_choice import IMPORTS, KERAS
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.probe.on_request import stack_dump
from gputrain.engine.processes.compile_cache import set_compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.orphans import die_with_parent
from gputrain.engine.processes.rank_board import RankBoard, stacks_file
from gputrain.engine.processes.rank_environment import NODE_AGENT, MeetingPoint, RankInfo, use_interface
from gputrain.engine.processes.rank_events import RANK_LOST, RankEvents
from gputrain.engine.processes.rank_processes import RankProcesses, RankReporter, exit_with_parent
from gputrain.engine.processes.trainer_control import StopRequested, TrainerControl
from gputrain.engine.processes.watchdog import STACKS_SIGNAL
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import orphan_trainer
from gputrain.engine.supervision.node_sampling import start_node_sampling

if TYPE_CHECKING:
    from gputrain.engine.keras.trainer import KerasTrainer
    from gputrain.engine.training.distributed.process_group import SingleProcess
    from gputrain.engine.training.distributed.rank_link import RankLink
    from gputrain.engine.training.loop.trainer import Trainer

_TRACEBACK_CHARACTERS = 20_000
_CAUSE_SECONDS = 5.0
"""Time until a launched rank has told why it ended."""
_NODE_LOCK_SECONDS = 30.0
"""Time for the trainer of a node that is cut off to end, where the nodes share the run directory."""
Join = Callable[[], "SingleProcess"]
"""Joins the process group, once torch is imported."""


def run(
    directory: str,
    config_json: bytes,
    outbox: Queue[bytes],
    inbox: Connection,
    info: RankInfo | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Train the run in `directory` as rank 0; the last event in `outbox` is `RunEnded`.

    `info`: this rank, if a launcher started all of them; None: this process starts the others. `listener`: the socket
    of the meeting point, if it is open already. Exits with 0 or `EXIT_FAILED`.
    """
    _register_stack_dump()
    if info is not None and info.launcher == NODE_AGENT:
        die_with_parent()
        use_interface(os.environ, info.interface)
    if info is not None and listener is not None:
        info = dataclasses.replace(info, meeting=dataclasses.replace(info.meeting, listener=listener.detach()))
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    training = _Training(Path(directory), config_json, reporter, control)
    if info is not None and info.launcher == NODE_AGENT:
        training.lock_seconds = _NODE_LOCK_SECONDS
    ended = training.lead(info if info is not None and info.count > 1 else None)
    reporter.send(ended)
    reporter.close()
    if training.rank_lost:
        _exit_now()
    if info is not None and (info.count > 1 or info.launcher == NODE_AGENT):
        # Threads that wait for the store would abort the process at an ordinary exit.
        _exit_now(EXIT_FAILED if ended.outcome is Outcome.FAILED else 0)
    if ended.outcome is Outcome.FAILED:
        sys.exit(EXIT_FAILED)


def run_rank(directory: str, config_json: bytes, rank: int, meeting: MeetingPoint, pipe: Connection) -> None:
    """Train as rank 1 or higher; `pipe` leads to rank 0. `meeting`: where all ranks meet."""
    _register_stack_dump()
    exit_with_parent()
    reporter = RankReporter(pipe.send_bytes, rank)
    control = TrainerControl(pipe, reporter)
    control.install_signals()
    training = _Training(Path(directory), config_json, reporter, control)
    count = training.config.devices
    board = _board(training.directory, rank, count)
    ended = training.follow(lambda: join_group(meeting, rank, count, board))
    reporter.send(ended)
    if ended.outcome is Outcome.FAILED:
        _exit_now()


def follow_launched(info: RankInfo, directory: str = "") -> NoReturn:
    """Train as rank 1 or higher of those that a launcher started, then exit.

    `directory`: the run directory as this machine sees it; empty: as rank 0 sees it.
    """
    from gputrain.engine.training.distributed.rank_link import RankLink

    _register_stack_dump()
    exit_with_parent()
    use_interface(os.environ, info.interface)

    def lost(who: str) -> None:
        print(f"rank {info.rank}: {who}", file=sys.stderr)
        _exit_now()

    link = RankLink(info.meeting, info.rank, info.count, lost)
    start = link.follow()
    host = plain(socket.gethostname(), 80)
    reporter = RankReporter(link.send, info.rank, host, info.local_rank, link.record)
    if info.local_rank == 0 and info.launcher != NODE_AGENT:
        # Rank 0 is the first one of its machine, which its supervisor samples; an agent samples its own.
        start_node_sampling(host, reporter.send)
    # Commands come to rank 0 alone; the end of this pipe stays open.
    inbox, _outlet = multiprocessing.Pipe(duplex=False)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    training = _Training(Path(directory or start.directory), bytes(start.config), reporter, control)
    link.patience = training.config.distributed.rank_timeout
    ended = training.follow(lambda: _join_launched(link, info, training, reporter))
    reporter.send(ended)
    link.close()
    if ended.outcome is Outcome.FAILED:
        print(f"rank {info.rank}: {ended.reason}", file=sys.stderr)
        _exit_now()
    # Its threads wait for the store: an ordinary exit would abort the process.
    _exit_now(EXIT_PREEMPTED if ended.preempted else 0)


def _join_launched(link: RankLink, info: RankInfo, training: _Training, reporter: EventReporter) -> SingleProcess:
    """The process group of ranks that a launcher started, compared with each other before their first step."""
    from gputrain.engine.training.distributed.process_group import ProcessGroup
    from gputrain.engine.training.distributed.run_node_check import check_nodes

    local = (info.local_rank, info.local_count)
    group = ProcessGroup(info.meeting, info.rank, info.count, store=link.store, local=local)
    check_nodes(group, info, training.config, training.directory, reporter.notice)
    link.met = True
    group.board = link.board
    return group


def join_group(meeting: MeetingPoint, rank: int, count: int, board: RankBoard | None) -> SingleProcess:
    """The process group of ranks on this machine; each shows its place on its `board`."""
    from gputrain.engine.training.distributed.process_group import ProcessGroup

    group = ProcessGroup(meeting, rank, count)
    group.board = board
    return group


def _exit_now(code: int = EXIT_FAILED) -> NoReturn:
    """Exit without cleanup: a collective operation with a lost rank may never return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _board(directory: Path, rank: int, count: int) -> RankBoard | None:
    """This rank's line of the board; its stacks go to a file of its own. None with a single rank, or a full disk."""
    if count == 1:
        return None
    try:
        # Open as long as the process lives.
        stacks = open(stacks_file(directory, rank), "w", opener=_private)  # noqa: SIM115
        faulthandler.register(STACKS_SIGNAL, file=stacks, all_threads=True)
        return RankBoard(directory, rank, count)
    except OSError:
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _register_stack_dump() -> None:
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    stack_dump.install()


class _Training:
    """The training of one process, from the import of torch to `RunEnded`."""

    def __init__(self, directory: Path, config_json: bytes, reporter: EventReporter, control: TrainerControl) -> None:
        self.directory, self._config_json = directory, config_json
        self._reporter, self._control = reporter, control
        self._step: Callable[[], int] = lambda: 0
        self.rank_lost = False
        self.lock_seconds = 0.0
        """Time to wait for another trainer of the run to end."""
        self._completed = False
        """The training loop returned: at its end, or at a requested stop."""

    def lead(self, info: RankInfo | None = None) -> RunEnded:
        """Train as rank 0 and manage the other ranks."""
        work = self._train_with_ranks if info is None else lambda: self._train_with_launched(info)
        return self._catch_errors(work)

    def follow(self, join: Join) -> RunEnded:
        """Train as another rank."""
        return self._catch_errors(lambda: self._train(join))

    def _train_with_ranks(self) -> RunEnded:
        """Start the other ranks on this machine."""
        self._begin()
        count = self.config.devices
        with RankProcesses(self.directory, self._config_json, count, run_rank, self._reporter) as ranks:
            meeting = ranks.meeting
            board = _board(self.directory, 0, count)
            join = None if meeting is None else lambda: join_group(meeting, 0, count, board)
            ended = self._catch_errors(lambda: self._train(join))
            self.rank_lost = ended.error.startswith(RANK_LOST)
            ended = ranks.cause_of(ended)
            if self._completed:
                ranks.join()
        return ended

    def _train_with_launched(self, info: RankInfo) -> RunEnded:
        """Meet ranks that a launcher has started."""
        from gputrain.engine.training.distributed.rank_link import RankLink, Start

        self._begin()
        others = RankEvents(self._reporter)
        link = RankLink(info.meeting, info.rank, info.count, self._on_lost)
        link.patience = self.config.distributed.rank_timeout
        start = Start(str(self.directory), msgspec.Raw(self._config_json))
        link.lead(start, others.take_encoded, self._reporter.forward)
        ended = self._catch_errors(lambda: self._train(lambda: _join_launched(link, info, self, self._reporter)))
        self.rank_lost = ended.error.startswith(RANK_LOST)
        ended = others.cause_of(ended, _CAUSE_SECONDS)
        others.flush()
        link.close()
        return ended

    def _on_lost(self, who: str) -> None:
        """A rank's machine is out of reach: its collectives would wait for a quarter of an hour."""
        self._reporter.send(RunEnded(outcome=Outcome.KILLED, reason=who, step=self._step(), exit_code=EXIT_FAILED))
        self._reporter.close()
        _exit_now()

    def _begin(self) -> None:
        phase, key = IMPORTS[self.config.engine]
        self._reporter.phase(phase, key=key)
        orphan_trainer.acquire_trainer_lock(RunDir(self.directory), self.lock_seconds)

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        return msgspec.json.decode(self._config_json, type=RunConfig)

    def _train(self, join: Join | None) -> RunEnded:
        set_compile_cache()
        trainer = self._trainer(self.config, join)
        self._step = lambda: trainer.step
        ended = trainer.train()
        self._completed = True
        return ended

    def _trainer(self, config: RunConfig, join: Join | None) -> Trainer | KerasTrainer:
        """The trainer of the engine; only its own library is imported. Raises BadInput."""
        if config.engine == KERAS:
            engine_choice.require(config)
            from gputrain.engine.keras import environment

            environment.prepare(config)
            from gputrain.engine.keras.trainer import KerasTrainer

            return KerasTrainer(self.directory, config, self._reporter, self._control)
        from gputrain.engine.training.loop.trainer import Trainer

        ranks = None if join is None else join()
        return Trainer(self.directory, config, self._reporter, self._control, ranks)

    def _catch_errors(self, work: Callable[[], RunEnded]) -> RunEnded:
        """The result of `work`; an exception becomes a `RunEnded` with the reason."""
        try:
            return work()
        except StopRequested:
            return self._control.ended(0)
        except BadInput as error:
            return RunEnded(
                outcome=Outcome.FAILED,
                reason=plain(str(error), 1000),
                step=self._step(),
                error=f"BadInput: {plain(str(error), 1000)}",
            )
        except Exception as error:  # noqa: BLE001 - every exception is reported as the run's end
            traceback.print_exc()
            text = plain(f"{type(error).__name__}: {error}", 1000)
            trace = traceback.format_exc()[-_TRACEBACK_CHARACTERS:]
            return RunEnded(
                outcome=Outcome.FAILED,
                reason=f"the trainer failed with {text}",
                step=self._step(),
                error=text,
                traceback="\n".join(plain(line, 500) for line in trace.splitlines()),
                died_of=_died_of(error),
            )


def _died_of(error: Exception) -> Literal["", "gpu", "ram"]:
    """Which memory ran out, by the names of the error's classes: the import of torch itself may have failed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"OutOfMemoryError", "NoGpuMemoryError"}:
        return "gpu"
    return "ram" if "MemoryError" in names else ""
