"""Entry point of a trainer process. This module imports neither torch nor TensorFlow; `run` does."""

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
    """Train the run in `directory` as rank 0; the last event in `outbox` is `RunEnded`.

    Exits with 0 or `EXIT_FAILED`.
    """
    _register_stack_dump()
    reporter = EventReporter(outbox)
    control = TrainerControl(inbox, reporter)
    control.install_signals()
    training = _Training(Path(directory), config_json, reporter, control)
    ended = training.lead()
    reporter.send(ended)
    reporter.close()
    if training.rank_lost:
        _exit_now()
    if ended.outcome is Outcome.FAILED:
        sys.exit(EXIT_FAILED)


def run_rank(directory: str, config_json: bytes, rank: int, rendezvous: str, pipe: Connection) -> None:
    """Train as rank 1 or higher; `pipe` leads to rank 0. `rendezvous`: the file where all ranks meet."""
    _register_stack_dump()
    exit_with_parent()
    reporter = RankReporter(pipe, rank)
    control = TrainerControl(pipe, reporter)
    control.install_signals()
    ended = _Training(Path(directory), config_json, reporter, control, rank).follow(rendezvous)
    reporter.send(ended)
    if ended.outcome is Outcome.FAILED:
        _exit_now()


def _exit_now() -> None:
    """Exit without cleanup: a collective operation with a lost rank may never return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_FAILED)


def _register_stack_dump() -> None:
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)


class _Training:
    """The training of one process, from the import of torch to `RunEnded`."""

    def __init__(
        self, directory: Path, config_json: bytes, reporter: EventReporter, control: TrainerControl, rank: int = 0
    ) -> None:
        self._directory, self._config_json = directory, config_json
        self._reporter, self._control, self._rank = reporter, control, rank
        self._step: Callable[[], int] = lambda: 0
        self.rank_lost = False
        self._completed = False
        """The training loop returned: at its end, or at a requested stop."""

    def lead(self) -> RunEnded:
        """Train as rank 0 and manage the other ranks."""
        return self._catch_errors(self._train_with_ranks)

    def follow(self, rendezvous: str) -> RunEnded:
        """Train as another rank."""
        return self._catch_errors(lambda: self._train(rendezvous))

    def _train_with_ranks(self) -> RunEnded:
        phase, key = IMPORTS[self._config().engine]
        self._reporter.phase(phase, key=key)
        orphan_trainer.acquire_trainer_lock(RunDir(self._directory))
        count = self._config().ranks
        with RankProcesses(self._directory, self._config_json, count, run_rank, self._reporter) as ranks:
            ended = self._catch_errors(lambda: self._train(ranks.rendezvous))
            self.rank_lost = ended.error.startswith(RANK_LOST)
            ended = ranks.cause_of(ended)
            if self._completed:
                ranks.join()
        return ended

    def _config(self) -> RunConfig:
        return msgspec.json.decode(self._config_json, type=RunConfig)

    def _train(self, rendezvous: str) -> RunEnded:
        set_compile_cache()
        trainer = self._trainer(self._config(), rendezvous)
        self._step = lambda: trainer.step
        ended = trainer.train()
        self._completed = True
        return ended

    def _trainer(self, config: RunConfig, rendezvous: str) -> Trainer | KerasTrainer:
        """The trainer of the engine; only its own library is imported. Raises BadInput."""
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
