"""An unedited script without data workers: the cause is named, the change tried while it runs, measured and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, script

from gputrain.engine.events import HintsChanged, Notice, RunEnded, Tuned
from gputrain.engine.runs import event_log, run_directory

WAITING = """
import time
import torch
from torch.utils.data import DataLoader, Dataset

class Waiting(Dataset):
    def __len__(self):
        return 100_000

    def __getitem__(self, index):
        time.sleep(0.02)
        return torch.linspace(0, index % 3, 8), index % 3

if __name__ == "__main__":
    torch.set_num_threads(1)
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    until = time.monotonic() + 75
    for x, y in DataLoader(Waiting(), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        time.sleep(0.1)
        if time.monotonic() > until:
            break
"""


@pytest.mark.alone
@pytest.mark.long
def test_missing_workers_are_named_tried_and_kept(tmp_path: Path) -> None:
    command = [*EXEC, "--autotune", "--plain", "--", sys.executable, str(script(tmp_path, WAITING))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0
    events = list(event_log.read(run_directory.find("last").events))
    assert isinstance(events[-1], RunEnded)
    hints = next(event for event in events if isinstance(event, HintsChanged) and event.hints).hints
    # A test machine may be busy with other things, which is then said as well.
    first = next(hint for hint in hints if hint.id not in ("cpu-contention", "cpu-neighbour"))
    assert first.id == "no-workers"
    line = WAITING[: WAITING.index("in DataLoader")].count("\n") + 1
    assert first.action.endswith(f"at my_train.py:{line}.")
    tried = [event for event in events if isinstance(event, Tuned)]
    assert [event.verdict for event in tried][:2] == ["trying", "kept"]
    kept = tried[1]
    assert kept.was == {"num_workers": 0}
    assert kept.before is not None
    assert kept.after is not None
    assert kept.after > 1.3 * kept.before
    assert not [event for event in events if isinstance(event, Notice) and event.level == "error"]
    assert "hint (critical): No data workers" in done.stdout
