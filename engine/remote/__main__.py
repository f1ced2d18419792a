"""``python -P -m gputrain.engine.remote RUN_DIR COMMAND``: send a command to a run on this machine.

Started over ssh, with the supervisor's own Python, by `gputrain.engine.remote.reconnecting_attachment`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import decode_command
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import NotLiveError
from gputrain.engine.runs.run_directory import RunDir


def main(directory: str, command: str) -> int:
    """Returns an exit code; prints the reason of a failure."""
    try:
        request = decode_command(command.encode())
    except (msgspec.DecodeError, UnicodeError) as error:
        print(f"this version does not know the command: {plain(str(error), 200)}")
        return EXIT_BAD_INPUT
    with contextlib.closing(launch.attach(RunDir(Path(directory)))) as attachment:
        try:
            attachment.send(request)
        except NotLiveError as error:
            print(error)
            return EXIT_FAILED
    return EXIT_FINISHED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
