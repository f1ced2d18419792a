from __future__ import annotations

import signal

from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.supervision.exit_reasons import exit_reason

KILLED = RunEnded(outcome=Outcome.KILLED, reason="rank 1 was killed by SIGKILL from outside", signal=signal.SIGKILL)


def test_a_rank_that_the_kernel_ended_for_want_of_memory_is_told_as_that() -> None:
    ended = exit_reason(KILLED, 1, stop_now=False, oom_killed=True, step=7)
    assert ended.reason.startswith("rank 1 was killed by SIGKILL, by the kernel's OOM killer: the machine")
    assert (ended.outcome, ended.died_of) == (Outcome.KILLED, "ram")


def test_one_that_a_person_killed_is_told_as_it_is() -> None:
    assert exit_reason(KILLED, 1, stop_now=False, oom_killed=False, step=7) == KILLED


def test_a_failure_while_the_kernel_ended_something_else_is_told_as_it_is() -> None:
    failed = RunEnded(outcome=Outcome.FAILED, reason="no such folder")
    assert exit_reason(failed, 1, stop_now=False, oom_killed=True, step=7) == failed
