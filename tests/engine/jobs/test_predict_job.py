"""Which checkpoint is tried: the best where one is marked, though training went on after it."""

from __future__ import annotations

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.checkpointing.checkpoint_index import CheckpointEntry
from gputrain.engine.jobs.predict_job import checkpoint_of
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.actions.run_actions import checkpoints_of


def run_with(*, best: bool) -> RunDir:
    run = run_directory.create("tried")
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    first = CheckpointEntry("step-3.pt", 3, 0, "0", 1, best=best)
    checkpoint_index.write_index(run.checkpoints, [first, CheckpointEntry("step-9.pt", 9, 2, "0", 1)])
    return run


def test_best_checkpoint_is_preferred() -> None:
    run = run_with(best=True)
    assert [checkpoint_of(run, wanted).step for wanted in ("best", "last", "3")] == [3, 9, 3]
    assert "the best is step 3" in checkpoints_of(run)


def test_last_checkpoint_without_a_best() -> None:
    run = run_with(best=False)
    assert checkpoint_of(run, "best").step == 9
    assert "the best" not in checkpoints_of(run)
