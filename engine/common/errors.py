"""BadInput, the exception for input that the user can fix, and the exit codes of all commands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_FINISHED = 0
"""The run or command finished."""
EXIT_FAILED = 1
"""The run ended with an exception, or the command failed."""
EXIT_BAD_INPUT = 2
"""A file, setting or argument is wrong; nothing was started or changed."""
EXIT_STOPPED = 3
"""The run was stopped on request before its last step; it can be resumed."""
EXIT_KILLED = 4
"""The run's processes were killed: by a signal, the kernel's OOM killer, or a reboot."""
EXIT_SCREEN_FAILED = 5
"""The screen of a command closed because of an error in this program. Runs continue."""
EXIT_PREEMPTED = 75
"""A batch system stopped the run, after a checkpoint: resume it (EX_TEMPFAIL of sysexits.h)."""


class BadInput(Exception):  # noqa: N818 - reads well in `raise BadInput(...)`
    """A file, setting, argument or name from the user is wrong.

    The message names the place and the remedy (``profile.yaml:12: batch_size must be ≥ 1, got 0``).
    Commands print it without a traceback and exit with `EXIT_BAD_INPUT`.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
