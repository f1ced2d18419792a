"""The exit code of a command that watched a run, from how the run ended."""

from __future__ import annotations

from gputrain.engine.common.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_FINISHED,
    EXIT_KILLED,
    EXIT_PREEMPTED,
    EXIT_STOPPED,
)
from gputrain.engine.events import Outcome, RunEnded

_BAD_INPUT = "BadInput: "
_CODES = {
    Outcome.FINISHED: EXIT_FINISHED,
    Outcome.STOPPED: EXIT_STOPPED,
    Outcome.FAILED: EXIT_FAILED,
    Outcome.KILLED: EXIT_KILLED,
}


def exit_code(ended: RunEnded | None) -> int:
    """The exit code for `ended`; None means that the run was killed before it could record its end.

    Bad input that only the trainer found gives the exit code of bad input. A script of the user's own has its own.
    """
    if ended is None:
        return EXIT_KILLED
    if ended.own_code is not None:
        return ended.own_code
    if ended.error.startswith(_BAD_INPUT):
        return EXIT_BAD_INPUT
    return EXIT_PREEMPTED if ended.preempted else _CODES[ended.outcome]
