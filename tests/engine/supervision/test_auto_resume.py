"""auto_resume: which failures are retried, how often, and after which delay."""

from __future__ import annotations

import pytest

from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.supervision.auto_resume import TRIES, AutoResume


def ended(outcome: Outcome, step: int = 0, error: str = "") -> RunEnded:
    return RunEnded(outcome=outcome, reason="", step=step, error=error)


@pytest.mark.parametrize(
    "end",
    [
        ended(Outcome.FINISHED),
        ended(Outcome.STOPPED),
        ended(Outcome.FAILED, error="BadInput: data_dir: no such folder"),
        ended(Outcome.FAILED, error="Diverged: the loss is nan"),
    ],
)
def test_errors_that_would_repeat_are_not_retried(end: RunEnded) -> None:
    assert AutoResume().after(end) is None


def test_delays_double_until_the_run_gives_up() -> None:
    retries = AutoResume()
    waits = [retries.after(ended(Outcome.KILLED, step=100 - number)) for number in range(TRIES + 1)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, None]


def test_a_run_that_makes_progress_is_restarted_without_limit() -> None:
    retries = AutoResume()
    waits = [retries.after(ended(Outcome.FAILED, step=step, error="OSError: gone")) for step in range(50)]
    assert set(waits) == {2.0}


def test_without_auto_resume_only_a_lost_rank_restarts_the_others() -> None:
    retries = AutoResume(every_crash=False, lost_ranks=2)
    assert retries.setting == "max_restarts"
    assert retries.after(ended(Outcome.FAILED, error="RuntimeError: x", step=9)) is None
    assert retries.after(ended(Outcome.KILLED, step=10)) == 0
    assert retries.after(ended(Outcome.FAILED, error="RankLostError: closed by peer", step=10)) == 0
    assert retries.after(ended(Outcome.KILLED, step=10)) is None, "no progress"
    assert retries.after(ended(Outcome.KILLED, step=11)) == 0
    assert AutoResume(every_crash=False).after(ended(Outcome.KILLED, step=1)) is None
