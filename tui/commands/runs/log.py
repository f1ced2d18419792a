"""``gputrain-tui log RUN --to LOGGER``: exports a live or finished run to TensorBoard, W&B, MLflow or Trackio."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from gputrain.engine.common import files
from gputrain.engine.common.errors import EXIT_STOPPED, BadInput
from gputrain.engine.loggers import logger_choice
from gputrain.engine.runs import run_directory


def run(options: argparse.Namespace) -> int:
    """Returns 0 once everything is written, the exit code of the logger if it failed, 3 after Ctrl-C."""
    target = run_directory.find(options.run)
    name = logger_choice.check_name(options.to)
    logger_choice.require([name])
    folder = files.expand_user(options.dir).resolve() if options.dir else logger_choice.default_folder(target, name)
    if folder.is_dir() and any(folder.iterdir()):
        # The tools append to existing files: every value would appear twice in their charts.
        raise BadInput(f"{folder} is not empty: name another folder with --dir, or remove it first")
    child = subprocess.Popen(
        logger_choice.command(target, name, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            _show_progress(line, options.json)
        return child.wait()
    except KeyboardInterrupt:
        # The child received the interrupt, too.
        child.wait()
        return EXIT_STOPPED


def _show_progress(line: bytes, as_json: bool) -> None:
    if as_json:
        print(line.decode().rstrip(), flush=True)
        return
    message = json.loads(line)
    if message["type"] == "logged":
        print(f"{message['events']} events written to {message['folder']}; view them with: {message['see']}")
    elif sys.stderr.isatty():
        print(f"\r{message['events']} events", end="\r", file=sys.stderr, flush=True)
