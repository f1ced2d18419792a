"""`gputrain.report`: three lines for scripts of which too little can be learned without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import pages_in, probed, run, script

from gputrain import report
from gputrain.engine.probe import layout

REPORTED = """
from gputrain import report
import torch
from torch.utils.data import DataLoader, TensorDataset

weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], 0.1)
for number in range(30):
    # Two optimizer steps make one step of this script, and no loader is used.
    for _ in range(2):
        (weight * torch.randn(3)).sum().backward()
        optimizer.step()
    report.step(samples=5, loss=torch.tensor(number + 0.5))
    report.log(accuracy=number / 30, note="not a number")
report.phase("validation")
for _ in DataLoader(TensorDataset(torch.zeros(20, 1)), batch_size=10):
    weight.sum().backward()
report.phase("training")
report.step()
"""


def test_reported_steps_are_those_that_count(tmp_path: Path) -> None:
    done = run([sys.executable, str(script(tmp_path, REPORTED))], probed(tmp_path / "pages"))
    assert (done.returncode, done.stderr) == (0, "")
    page = next(page for page in pages_in(tmp_path / "pages").scan() if not page.is_worker)
    slots = page.slots
    assert (slots[layout.UPDATES], slots[layout.REPORTED], slots[layout.SAMPLES]) == (31, 31, 150)
    assert slots[layout.LOSS] == 29.5
    assert slots[layout.VALIDATION_BATCHES] == 2
    assert slots[layout.VALIDATION_SECONDS] > 0
    assert slots[layout.PHASE] == layout.TRAINING
    assert slots[layout.DISABLED] == 0
    logged = [line["values"] for line in page.lines() if line["kind"] == "scalars"]
    assert logged[-1] == {"accuracy": 29 / 30}
    assert len(logged) == 30


def test_without_a_supervisor_nothing_happens() -> None:
    report.step(samples=3, loss=0.5)
    report.log(accuracy=0.5)
    report.phase("training")
    with pytest.raises(ValueError, match="phase must be 'training' or 'validation', got 'test'"):
        report.phase("test")  # type: ignore[arg-type]


def test_it_imports_nothing_but_the_standard_library() -> None:
    text = "import sys; from gputrain import report; print({'torch', 'textual', 'msgspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout == "set()\n"
