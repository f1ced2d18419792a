"""Hints for a custom data set whose workers wait for reads."""

from __future__ import annotations

from typing import Any

import pytest

from gputrain.engine.diagnosis.rules import evaluate
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.events import Hint

REMOTE: dict[str, Any] = {
    "wait": 0.9,
    "compute": 0.1,
    "workers": 1,
    "kind": "processes",
    "rate": 70.0,
    "sample_rate": 70.0,
    "busy": 0.95,
    "cpu_ratio": 0.15,
    "run_delay": 0.01,
    "read_share": 0.84,
    "lock_share": 0.0,
    "from_disk": 0.0,
    "usable_cores": 8.0,
    "cpu": 6.0,
    "run_cpu": 0.4,
    "foreign_cpu": 0.0,
    "epoch": 1,
    "on_gpu": True,
}
"""One worker that waits 12 ms for each file, which is on no local disk; the device could take 700 a second."""


def disk(**changes: Any) -> Hint:
    settings = {"dataset": changes.pop("dataset", "custom"), "num_workers": 1, "batch_size": 32}
    return evaluate(Signals(settings=settings, **{**REMOTE, **changes}))["disk"]


def test_more_workers_are_predicted_to_help_remote_reads() -> None:
    hint = disk()
    assert hint.changes == {"num_workers": 10}
    assert "does not come from a local disk" in hint.action
    assert hint.prediction is not None
    assert hint.prediction.high == pytest.approx(700, rel=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"from_disk": 0.2},
        {"from_disk": None},
        {"workers": 12, "rate": 600.0, "sample_rate": 600.0, "busy": 0.5, "wait": 0.1, "compute": 0.9},
        {"dataset": "imagefolder"},
    ],
)
def test_no_advice_for_more_workers_on_local_or_unknown_storage(changes: dict[str, Any]) -> None:
    hint = disk(**changes)
    assert "num_workers" not in hint.changes
    assert "More workers help little" in hint.action
