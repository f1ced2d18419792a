"""What is made of the sums in a script's pages."""

from __future__ import annotations

import pytest

from gputrain.engine.user_script.readings import read_share


@pytest.mark.parametrize(
    ("busy", "waited", "lock", "share"),
    [
        (1.0, 0.8, None, 0.8),
        # Half of the time of one worker of two, so a whole second of the two.
        (1.8, 1.5, 0.5, 0.5 / 1.8),
        (1.0, 0.8, 0.9, 0.0),
        (1.0, None, 0.1, None),
        (0.0, 0.0, 0.1, None),
    ],
)
def test_waiting_for_a_lock_is_no_reading(
    busy: float, waited: float | None, lock: float | None, share: float | None
) -> None:
    assert read_share(busy, waited, lock, 2.0) == (None if share is None else pytest.approx(share))
