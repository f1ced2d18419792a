"""``gputrain-tui log RUN --to LOGGER``: a run in another tool's files, also long after it ended."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gputrain.engine.common.errors import EXIT_STOPPED, BadInput
from gputrain.engine.loggers import logger_choice
from gputrain.engine.runs import run_directory


def run(options: argparse.Namespace) -> int:
    """Returns 0 once all is written, the logger's own exit code if it failed, 3 after Ctrl-C."""
    target = run_directory.find(options.run)
    name = logger_choice.check_name(options.to)
    logger_choice.require([name])
    folder = Path(options.dir).expanduser().resolve() if options.dir else logger_choice.default_folder(target, name)
    if folder.is_dir() and any(folder.iterdir()):
        # Both tools add what they find there: every figure would be in their charts twice.
        raise BadInput(f"{folder} is not empty: name another folder with --dir, or remove it first")
    child = subprocess.Popen(
        logger_choice.command(target, name, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            _tell(line, options.json)
        return child.wait()
    except KeyboardInterrupt:
        # It has got the interrupt as well.
        child.wait()
        return EXIT_STOPPED


def _tell(line: bytes, as_json: bool) -> None:
    if as_json:
        print(line.decode().rstrip(), flush=True)
        return
    said = json.loads(line)
    if said["type"] == "logged":
        print(f"{said['events']} events are in {said['folder']}; see them with: {said['see']}")
    elif sys.stderr.isatty():
        print(f"\r{said['events']} events", end="\r", file=sys.stderr, flush=True)
