"""The one exception for input that a person can mend, and the exit codes of every command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_FINISHED = 0
"""The run (or the command) did all that was asked."""
EXIT_FAILED = 1
"""The run ended with an exception, or the command could not do its work."""
EXIT_BAD_INPUT = 2
"""A file, a setting or an argument is wrong; nothing was started and nothing was changed."""
EXIT_STOPPED = 3
"""The run was stopped on request before its last step; it can be resumed."""
EXIT_KILLED = 4
"""The run's processes were ended from outside: a signal, the kernel's OOM killer, a reboot."""
EXIT_SCREEN_FAILED = 5
"""The screen of a command closed because of an error in this program. Runs continue."""
EXIT_PREEMPTED = 75
"""A batch system asked the run to go; it did, after a checkpoint, and wants to be resumed (EX_TEMPFAIL, sysexits.h)."""


class BadInput(Exception):  # noqa: N818 - reads as what it is: `raise BadInput(...)`
    """Something the user wrote or named is wrong.

    The message names the place and the remedy (``profile.yaml:12: batch_size must be ≥ 1, got 0``).
    Commands print it without a traceback and leave with `EXIT_BAD_INPUT`.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
