"""The entry of a trainer process. Importing this module is cheap: torch or TensorFlow come when `run` is called."""

from __future__ import annotations

import faulthandler
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gputrain.engine import engines, leftover
from gputrain.engine.config import RunConfig
from gputrain.engine.engines import IMPORTS, KERAS
from gputrain.engine.errors import EXIT_FAILED, BadInput
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.runs import RunDir
from gputrain.engine.text import plain
from gputrain.engine.training.compilecache import keep_compiled
from gputrain.engine.training.control import Control, StopRequested
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.watchdog import STACKS_SIGNAL

if TYPE_CHECKING:
    from gputrain.engine.keras.trainer import KerasTrainer
    from gputrain.engine.training.trainer import Trainer

_TRACEBACK_CHARACTERS = 20_000


def run(directory: str, config_json: bytes, outbox: Queue[bytes], inbox: Connection) -> None:
    """Train the run in `directory`; the last event in `outbox` says how it ended. Leaves with 0 or `EXIT_FAILED`."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    reporter = Reporter(outbox)
    control = Control(inbox, reporter)
    control.install_signals()
    ended = _train(Path(directory), config_json, reporter, control)
    reporter.send(ended)
    reporter.close()
    if ended.outcome is Outcome.FAILED:
        sys.exit(EXIT_FAILED)


def _train(directory: Path, config_json: bytes, reporter: Reporter, control: Control) -> RunEnded:
    trainer = None
    try:
        config = msgspec.json.decode(config_json, type=RunConfig)
        phase, key = IMPORTS[config.engine]
        reporter.phase(phase, key=key)
        leftover.hold(RunDir(directory))
        keep_compiled()
        trainer = _trainer_class(config)(directory, config, reporter, control)
        return trainer.train()
    except StopRequested:
        return control.ended(0)
    except BadInput as error:
        return RunEnded(
            outcome=Outcome.FAILED,
            reason=plain(str(error), 1000),
            step=trainer.step if trainer is not None else 0,
            error=f"BadInput: {plain(str(error), 1000)}",
        )
    except Exception as error:  # noqa: BLE001 - whatever ends a training is told to the person
        traceback.print_exc()
        text = plain(f"{type(error).__name__}: {error}", 1000)
        trace = traceback.format_exc()[-_TRACEBACK_CHARACTERS:]
        return RunEnded(
            outcome=Outcome.FAILED,
            reason=f"the trainer failed with {text}",
            step=trainer.step if trainer is not None else 0,
            error=text,
            traceback="\n".join(plain(line, 500) for line in trace.splitlines()),
            died_of=_died_of(error),
        )


def _trainer_class(config: RunConfig) -> type[Trainer] | type[KerasTrainer]:
    """The engine's; neither library is imported for the other. Raises BadInput."""
    if config.engine == KERAS:
        engines.require(config)
        from gputrain.engine.keras import environment

        environment.prepare(config)
        from gputrain.engine.keras.trainer import KerasTrainer

        return KerasTrainer
    from gputrain.engine.training.trainer import Trainer

    return Trainer


def _died_of(error: Exception) -> Literal["", "gpu", "ram"]:
    """The memory that was missing, by the names of the error's classes: torch itself may be what failed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"OutOfMemoryError", "NoGpuMemoryError"}:
        return "gpu"
    return "ram" if "MemoryError" in names else ""
