"""Which ends of a trainer are tried again, how often, and after how long."""

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
def test_what_would_end_the_same_way_is_not_tried_again(end: RunEnded) -> None:
    assert AutoResume().after(end) is None


def test_waits_grow_and_end_where_the_run_gets_no_further() -> None:
    retries = AutoResume()
    waits = [retries.after(ended(Outcome.KILLED, step=100 - number)) for number in range(TRIES + 1)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, None]


def test_a_run_that_gets_further_is_tried_for_ever() -> None:
    retries = AutoResume()
    waits = [retries.after(ended(Outcome.FAILED, step=step, error="OSError: gone")) for step in range(50)]
    assert set(waits) == {2.0}
