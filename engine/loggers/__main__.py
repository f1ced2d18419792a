"""``python -P -m gputrain.engine.loggers RUN_DIR NAME FOLDER``: one logger, a process of its own that may fail alone.

Its standard output has a line of JSON every second or so: how far it is, and at last where the result is.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.loggers import logger_choice
from gputrain.engine.loggers.follow_record import Logger, follow
from gputrain.engine.runs.run_directory import RunDir

_TELL_SECONDS = 1.0
_NICENESS = 10
_SINKS = {"tensorboard": ("tensorboard_logger", "TensorBoardSink"), "wandb": ("wandb_logger", "WandbSink")}


class _ProgressPrinter:
    """Says how far the logger is, at most once a second, for as long as somebody listens."""

    def __init__(self) -> None:
        self._told = 0.0
        self._heard = True

    def alive(self, count: int) -> None:
        """`count` events were taken."""
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self.say({"type": "progress", "events": count})

    def say(self, words: dict[str, object]) -> None:
        """One line of JSON. Goes on in silence once the supervisor, who listened, is gone."""
        if not self._heard:
            return
        try:
            os.write(1, json.dumps(words).encode() + b"\n")
        except BrokenPipeError:
            self._heard = False


def main(directory: str, name: str, folder: str) -> int:
    """Log the run in `directory`; returns an exit code of `gputrain.engine.common.errors`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.nice(_NICENESS)  # training comes first
    os.umask(0o077)
    run, teller = RunDir(Path(directory)), _ProgressPrinter()
    try:
        logger_choice.require([logger_choice.check_name(name)])
        count_and_hint = _log(run, name, Path(folder), teller)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"{name}: {plain(str(error), 300)}", file=sys.stderr)
        return EXIT_FAILED
    count, hint = count_and_hint
    teller.say({"type": "logged", "logger": name, "events": count, "folder": folder, "see": hint})
    return EXIT_FINISHED


def _log(run: RunDir, name: str, folder: Path, teller: _ProgressPrinter) -> tuple[int, str]:
    # By this name tensorboard asks whether it is to do without TensorFlow where that is installed: its import takes
    # seconds, and its files raise errors of their own.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    module, kind = _SINKS[name]
    sink: Logger = getattr(importlib.import_module(f"gputrain.engine.loggers.{module}"), kind)(folder, run.id)
    return follow(run, sink, teller.alive), sink.hint


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
