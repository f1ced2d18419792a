"""Two ranks of one script by torchrun: both are seen, and the slow one is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, LOCAL_TORCHRUN, script
from msgspec import structs

from gputrain.engine.diagnosis.recorded_run_review import review
from gputrain.engine.events import AnyEvent, HardwareSample, Notice, RankSteps, RunEnded, ScriptModel, Steps
from gputrain.engine.runs import event_log, run_directory

pytestmark = pytest.mark.frameworks

RANKS = """
import sys, time
import torch
from torch.utils.data import DataLoader, Dataset

class Waiting(Dataset):
    def __init__(self, slow):
        self.slow = slow
    def __len__(self):
        return 100_000
    def __getitem__(self, index):
        time.sleep(0.04 if self.slow else 0.001)
        return torch.randn(8), index % 3

torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
data_is_slow, model_is_slow = (rank == 1 and sys.argv[1] == what for what in ("data", "model"))
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
rows = Waiting(data_is_slow)
loader = DataLoader(rows, batch_size=8, sampler=torch.utils.data.DistributedSampler(rows))
for number, (x, y) in enumerate(loader):
    optimizer.zero_grad()
    time.sleep(0.05)
    if model_is_slow:
        time.sleep(0.3)
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    if number == 70:
        break
torch.distributed.destroy_process_group()
"""


def _quiet(event: AnyEvent) -> AnyEvent:
    """The event as on a machine without other programs, which would be the first cause."""
    if not isinstance(event, HardwareSample):
        return event
    return structs.replace(event, foreign_cpu=0.0, other_processes=(), psi_cpu=None, cpu_percent=50.0)


@pytest.mark.parametrize(("slow", "words"), [("data", "Rank 1 waits for data"), ("model", "Rank 1 computes more")])
def test_the_slow_rank_is_named(slow: str, words: str, tmp_path: Path) -> None:
    path = script(tmp_path, RANKS)
    launch = [*LOCAL_TORCHRUN, "--nproc-per-node", "2", str(path), slow]
    done = subprocess.run([*EXEC, "--plain", "--", *launch], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]
    events = list(event_log.read(run_directory.find("last").events))
    assert isinstance(events[-1], RunEnded)
    assert [event.ranks for event in events if isinstance(event, ScriptModel)] == [2]
    others = [event for event in events if isinstance(event, RankSteps)]
    assert {event.rank for event in others} == {1}
    _check_waiting(events, others)
    hints = {finding.hint.id: finding.hint for finding in review(map(_quiet, events)).findings}
    assert words in hints["slow-rank"].action
    assert not [event for event in events if isinstance(event, Notice) and event.level == "error"]


def _check_waiting(events: list[AnyEvent], others: list[RankSteps]) -> None:
    """Rank 0 waits for rank 1, which waits for nobody, and no part of a step is counted twice."""
    first = [event for event in events if isinstance(event, Steps) and event.exchange is not None]
    assert sum(event.exchange or 0.0 for event in first) > sum(event.exchange for event in others)
    for event in first:
        assert event.data_wait + event.compute + (event.exchange or 0.0) <= event.window_seconds * 1.001
