from __future__ import annotations

import signal

from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.supervision.exit_reasons import exit_reason

KILLED = RunEnded(outcome=Outcome.KILLED, reason="rank 1 was killed by SIGKILL from outside", signal=signal.SIGKILL)


def test_a_rank_killed_by_the_oom_killer_has_that_reason() -> None:
    ended = exit_reason(KILLED, 1, stop_now=False, oom_killed=True, step=7)
    assert ended.reason.startswith("rank 1 was killed by SIGKILL, by the kernel's OOM killer: the machine")
    assert (ended.outcome, ended.died_of) == (Outcome.KILLED, "ram")


def test_a_rank_killed_by_a_user_keeps_its_reason() -> None:
    assert exit_reason(KILLED, 1, stop_now=False, oom_killed=False, step=7) == KILLED


def test_a_failure_during_an_unrelated_oom_kill_keeps_its_reason() -> None:
    failed = RunEnded(outcome=Outcome.FAILED, reason="no such folder")
    assert exit_reason(failed, 1, stop_now=False, oom_killed=True, step=7) == failed
