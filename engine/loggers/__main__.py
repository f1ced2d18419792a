"""``python -P -m gputrain.engine.loggers RUN_DIR NAME FOLDER``: one logger, as a separate process.

It prints a line of JSON about once a second with its progress, and at the end where the result is.
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

_PROGRESS_SECONDS = 1.0
_NICENESS = 10
_LOGGERS = {
    "tensorboard": ("tensorboard_logger", "TensorBoardLogger"),
    "wandb": ("wandb_logger", "WandbLogger"),
    "mlflow": ("mlflow_logger", "MlflowLogger"),
    "trackio": ("trackio_logger", "TrackioLogger"),
}


class _ProgressPrinter:
    """Prints the progress at most once a second, until standard output is closed."""

    def __init__(self) -> None:
        self._printed = 0.0
        self._open = True

    def progress(self, count: int) -> None:
        """Report that `count` events were logged."""
        if time.monotonic() - self._printed >= _PROGRESS_SECONDS:
            self._printed = time.monotonic()
            self.write({"type": "progress", "events": count})

    def write(self, fields: dict[str, object]) -> None:
        """Print one line of JSON; does nothing once the reader (the supervisor) has ended."""
        if not self._open:
            return
        try:
            os.write(1, json.dumps(fields).encode() + b"\n")
        except BrokenPipeError:
            self._open = False


def main(directory: str, name: str, folder: str) -> int:
    """Log the run in `directory`; returns an exit code of `gputrain.engine.common.errors`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.nice(_NICENESS)  # training comes first
    os.umask(0o077)
    sys.stdout = sys.stderr  # what a logger's package prints: standard output has our lines alone
    run, printer = RunDir(Path(directory)), _ProgressPrinter()
    try:
        logger_choice.require([logger_choice.check_name(name)])
        count, hint = _log(run, name, Path(folder), printer)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"{name}: {plain(str(error), 300)}", file=sys.stderr)
        return EXIT_FAILED
    printer.write({"type": "logged", "logger": name, "events": count, "folder": folder, "see": hint})
    return EXIT_FINISHED


def _log(run: RunDir, name: str, folder: Path, printer: _ProgressPrinter) -> tuple[int, str]:
    # With this module present, tensorboard does not import an installed TensorFlow, which takes seconds and may fail.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    module, kind = _LOGGERS[name]
    logger: Logger = getattr(importlib.import_module(f"gputrain.engine.loggers.{module}"), kind)(folder, run.id)
    return follow(run, logger, printer.progress), logger.hint


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
