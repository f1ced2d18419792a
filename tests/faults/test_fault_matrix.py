"""Real faults on real runs, each once; `tests/benchmarks/faults.py` repeats them as often as wanted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalogue import FAULTS, Fault
from faultlab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all faults: a run that survives a fault is used for the next one."""
    lab = Lab(tmp_path_factory.mktemp("lab"), seed=random.randrange(2**32))
    yield lab
    lab.close()


@pytest.mark.long
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=fault.name, marks=fault.marks) for fault in FAULTS if fault.in_suite]
)
def test_nothing_is_lost_and_messages_are_correct(fault: Fault, lab: Lab, private_homes: Path) -> None:
    if reason := fault.unavailable():
        pytest.skip(reason)
    finding = fault.provoke(lab)
    assert finding.survived, finding.said
    assert finding.lost == 0, finding
