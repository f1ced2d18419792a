"""The entry of a trainer process. Importing this module is cheap: torch or TensorFlow come when `run` is called."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.engine_choice import IMPORTS, KERAS
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.processes.compile_cache import set_compile_cache
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.rank_processes import RANK_LOST, RankProcesses, RankReporter, exit_with_parent
from gputrain.engine.processes.trainer_control import StopRequested, TrainerControl
from gputrain.engine.processes.watchdog import STACKS_SIGNAL
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import orphan_trainer

if TYPE_CHECKING:
    from gputrain.engine.keras.trainer import KerasTrainer
    from gputrain.engine.training.loop.trainer import Trainer

_TRACEBACK_CHARACTERS = 20_000


def run(directory: str, config_json: bytes, outbox: Queue[bytes], inbox: Connection) -> None:
    """Train the run in `directory`, as rank 0 where there are several; the last event in `outbox` says how it ended.

    Leaves with 0 or `EXIT_FAILED`.
    """
    _say_stacks()
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    work = _Work(Path(directory), config_json, reporter, control)
    ended = work.lead()
    reporter.send(ended)
    reporter.close()
    if work.lost_a_rank:
        _leave_at_once()
    if ended.outcome is Outcome.FAILED:
        sys.exit(EXIT_FAILED)


def run_rank(directory: str, config_json: bytes, rank: int, rendezvous: str, pipe: Connection) -> None:
    """Train as another rank than 0, which is at the other end of `pipe`; all of them come to `rendezvous`."""
    _say_stacks()
    exit_with_parent()
    reporter = RankReporter(pipe, rank)
    control = TrainerControl(pipe, reporter)
    control.install_signals()
    ended = _Work(Path(directory), config_json, reporter, control, rank).follow(rendezvous)
    reporter.send(ended)
    if ended.outcome is Outcome.FAILED:
        _leave_at_once()


def _leave_at_once() -> None:
    """Without what Python and libraries do at their end: an exchange with a rank that is gone may not come to one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_FAILED)


def _say_stacks() -> None:
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)


class _Work:
    """What one process does for a run: from the import of torch to the end, which is told in words."""

    def __init__(
        self, directory: Path, config_json: bytes, reporter: EventReporter, control: TrainerControl, rank: int = 0
    ) -> None:
        self._directory, self._config_json = directory, config_json
        self._reporter, self._control, self._rank = reporter, control, rank
        self._step: Callable[[], int] = lambda: 0
        self.lost_a_rank = False
        self._through = False
        """The training came to its end, or to where it was asked to stop."""

    def lead(self) -> RunEnded:
        """Be rank 0."""
        return self._in_words(self._with_others)

    def follow(self, rendezvous: str) -> RunEnded:
        """Be another rank."""
        return self._in_words(lambda: self._train(rendezvous))

    def _with_others(self) -> RunEnded:
        phase, key = IMPORTS[self._config().engine]
        self._reporter.phase(phase, key=key)
        orphan_trainer.acquire_trainer_lock(RunDir(self._directory))
        count = self._config().ranks
        with RankProcesses(self._directory, self._config_json, count, run_rank, self._reporter) as others:
            ended = self._in_words(lambda: self._train(others.rendezvous))
            self.lost_a_rank = ended.error.startswith(RANK_LOST)
            ended = others.cause_of(ended)
            if self._through:
                others.let_end()
        return ended

    def _config(self) -> RunConfig:
        return msgspec.json.decode(self._config_json, type=RunConfig)

    def _train(self, rendezvous: str) -> RunEnded:
        set_compile_cache()
        trainer = self._trainer(self._config(), rendezvous)
        self._step = lambda: trainer.step
        ended = trainer.train()
        self._through = True
        return ended

    def _trainer(self, config: RunConfig, rendezvous: str) -> Trainer | KerasTrainer:
        """The engine's; neither library is imported for the other. Raises BadInput."""
        if config.engine == KERAS:
            engine_choice.require(config)
            from gputrain.engine.keras import environment

            environment.prepare(config)
            from gputrain.engine.keras.trainer import KerasTrainer

            return KerasTrainer(self._directory, config, self._reporter, self._control)
        from gputrain.engine.training.distributed.process_group import ProcessGroup, SingleProcess
        from gputrain.engine.training.loop.trainer import Trainer

        ranks = ProcessGroup(Path(rendezvous), self._rank, config.ranks) if rendezvous else SingleProcess()
        return Trainer(self._directory, config, self._reporter, self._control, ranks)

    def _in_words(self, work: Callable[[], RunEnded]) -> RunEnded:
        """Do `work`; whatever ends it is told."""
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
        except Exception as error:  # noqa: BLE001 - whatever ends a training is told to the person
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
    """The memory that was missing, by the names of the error's classes: torch itself may be what failed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"OutOfMemoryError", "NoGpuMemoryError"}:
        return "gpu"
    return "ram" if "MemoryError" in names else ""
