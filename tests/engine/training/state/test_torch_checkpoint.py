"""Async checkpoints contain the state of their step; full disks and failed writes."""

from __future__ import annotations

import errno
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training.training_tools import Result, draw_images, small_config, train

from gputrain.engine.checkpointing import checkpoint_files, checkpoint_index
from gputrain.engine.checkpointing.checkpoint_files import CheckpointFormat
from gputrain.engine.events import CheckpointSaved, Notice, Outcome
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.training.state import torch_checkpoint
from gputrain.engine.training.state.state_snapshot import StateSnapshot, size_of
from gputrain.engine.training.state.torch_checkpoint import Checkpoints

TIMEOUT = 60.0
RUN: dict[str, Any] = {"epochs": 2, "checkpoint_steps": 3, "keep_last": 50, "momentum": 0.9, "ema_decay": 0.9}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: on a busy machine two threads that wait for each other are much slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda count: None)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def held(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A run with synchronous checkpoints."""
    directory = tmp_path_factory.mktemp("held")
    return train(directory, small_config(images, **RUN, async_checkpoints=False)), directory


def states(directory: Path) -> dict[str, dict[str, Any]]:
    """Every checkpoint of a run by file name."""
    folder = directory / "checkpoints"
    return {
        e.file: torch_checkpoint.load(str(folder / e.file), pytest.fail) for e in checkpoint_index.read_index(folder)
    }


def same(first: Any, second: Any) -> bool:
    """Recursive bit-identical comparison."""
    match first:
        case torch.Tensor():
            return torch.equal(first, second)
        case dict():
            return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
        case list() | tuple():
            return len(first) == len(second) and all(map(same, first, second))
        case _:
            return bool(first == second)


def test_an_async_checkpoint_has_the_state_of_its_step(
    held: tuple[Result, Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint is written only after another step."""
    write, poll, ahead = checkpoint_files._write, TrainerControl.poll, threading.Event()
    polls: list[None] = []

    def late(path: Path, state: dict[str, Any], form: CheckpointFormat) -> tuple[str, int]:
        assert ahead.wait(TIMEOUT)
        return write(path, state, form)

    def counted(control: TrainerControl) -> None:
        poll(control)
        if any(thread.name == "checkpoint" for thread in threading.enumerate()):
            polls.append(None)
        if len(polls) == 2:
            ahead.set()

    monkeypatch.setattr(checkpoint_files, "_write", late)
    monkeypatch.setattr(TrainerControl, "poll", counted)
    result = train(tmp_path, small_config(images, **RUN))
    assert result.ended.outcome is Outcome.FINISHED
    saved = result.of(CheckpointSaved)
    assert [event.step for event in saved] == [event.step for event in held[0].of(CheckpointSaved)]
    assert saved[0].held is not None
    assert saved[0].held < saved[0].seconds
    ours, theirs = states(tmp_path), states(held[1])
    assert ours.keys() == theirs.keys()
    for name, state in ours.items():
        state["settings"] = theirs[name]["settings"]
        assert same(state, theirs[name]), name


def test_a_snapshot_keeps_its_values_and_reuses_its_memory() -> None:
    weight = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    state = {"model": {"w": weight}, "optimizer": [(weight, 3)], "name": "x"}
    snapshot = StateSnapshot()
    first = snapshot.take(state)
    before = weight.clone()
    weight.add_(1)
    assert torch.equal(first["model"]["w"], before)
    assert first["model"]["w"].stride() == weight.stride()
    assert first["optimizer"][0][1] == 3
    second = snapshot.take(state)
    assert second["model"]["w"].data_ptr() == first["model"]["w"].data_ptr()
    assert torch.equal(second["model"]["w"], weight)
    assert size_of(state) == 2 * 24 * 4


def test_a_snapshot_falls_back_to_pageable_memory() -> None:
    """A tensor that reports a GPU on a machine without one: page-locked memory fails."""

    class OnGpu(torch.Tensor):
        is_cuda = True

    if torch.cuda.is_available():
        pytest.skip("there is page-locked memory here")
    told: list[str] = []
    snapshot = StateSnapshot(told.append)
    weight = torch.arange(6.0)
    state = {"a": weight.as_subclass(OnGpu), "b": weight.as_subclass(OnGpu)}
    taken = snapshot.take(state)
    weight.add_(1)
    snapshot.wait()
    assert taken["a"].tolist() == taken["b"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    (text,) = told
    assert text.startswith("no page-locked memory for copies of the training state (")


def test_without_memory_for_snapshots_checkpoints_are_synchronous(
    held: tuple[Result, Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(snapshot: StateSnapshot, like: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\n  at c10/core")

    monkeypatch.setattr(StateSnapshot, "_room", refuses)
    result = train(tmp_path, small_config(images, **RUN))
    assert result.ended.outcome is Outcome.FINISHED
    told = [event.text for event in result.of(Notice) if "no memory for a copy" in event.text]
    (text,) = told
    assert "(DefaultCPUAllocator: can't allocate memory): the training waits while checkpoints are written" in text
    saved = result.of(CheckpointSaved)
    assert [event.step for event in saved] == [event.step for event in held[0].of(CheckpointSaved)]
    assert all(event.held == event.seconds for event in saved)


def test_out_of_memory_while_writing_a_checkpoint_is_reported(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: Path, state: dict[str, Any], form: CheckpointFormat) -> tuple[str, int]:
        raise MemoryError

    monkeypatch.setattr(checkpoint_files, "_write", refuses)
    result = train(tmp_path, small_config(images, **RUN | {"epochs": 1}))
    assert result.ended.outcome is Outcome.FINISHED
    told = [event.text for event in result.of(Notice) if event.level == "error"]
    assert told[0] == "no checkpoint at step 3: out of memory"


def test_a_full_disk_is_reported_before_writing(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=5 << 20))
    result = train(tmp_path, small_config(images, **RUN))
    assert result.ended.outcome is Outcome.FINISHED
    told = [event.text for event in result.of(Notice) if event.level == "error"]
    assert told[0].startswith("no checkpoint at step 3: it needs 16 MiB and the disk has 5.0 MiB left")
    assert told[0].endswith(f" left: {socket.gethostname()}:{tmp_path / 'checkpoints'}")
    # Only where one was due: in each epoch, at its end and at the run's.
    assert [int(text.split(":")[0].rpartition(" ")[2]) for text in told] == [3, 6, 6, 9, 12, 12, 12]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_failed_write_leaves_existing_checkpoints(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes a write fail in the middle of a file."""
    folder = tmp_path / "checkpoints"
    kept = Checkpoints(folder, 2)
    small = {"position": {}, "model": {"w": torch.zeros(10)}}
    kept.save(small, step=1, epoch=0, best=True)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limit[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|could not be written"):
            kept.save({"position": {}, "model": {"w": torch.zeros(1 << 18)}}, step=2, epoch=0, best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "index.json", "step-00000001.pt"]
    assert [(entry.step, entry.best) for entry in checkpoint_index.read_index(folder)] == [(1, True)]
    assert torch_checkpoint.load(str(folder), pytest.fail)["position"] == {}
    kept.save(small, step=3, epoch=0, best=False)
    assert [entry.step for entry in checkpoint_index.read_index(folder)] == [1, 3]


def numbered(value: int) -> dict[str, Any]:
    return {"position": {"step": value}, "model": {"w": torch.full((10,), float(value))}}


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize("step", [4, 5])
def test_a_failed_index_write_leaves_existing_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, best: bool
) -> None:
    """With the smallest keep_last, at a step that already has a checkpoint and at another one."""
    kept = Checkpoints(tmp_path, 1)
    kept.save(numbered(3), step=3, epoch=0, best=True)
    kept.save(numbered(4), step=4, epoch=0, best=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert before == ["best.pt", "index.json", "step-00000003.pt", "step-00000004.pt"]

    def full(folder: Path, entries: list[checkpoint_index.CheckpointEntry]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_index, "write_index", full)
        with pytest.raises(OSError, match="No space left"):
            kept.save(numbered(9), step=step, epoch=1, best=best)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert all(checkpoint_index.matches_checksum(tmp_path, entry) for entry in checkpoint_index.read_index(tmp_path))
    assert torch_checkpoint.load(str(tmp_path), pytest.fail)["position"]["step"] == 4
    assert torch_checkpoint.load(str(tmp_path / "best.pt"), pytest.fail)["position"]["step"] == 3
    kept.save(numbered(9), step=step, epoch=1, best=best)
    assert torch_checkpoint.load(str(tmp_path), pytest.fail)["position"]["step"] == 9
    assert torch_checkpoint.load(str(tmp_path / "best.pt"), pytest.fail)["position"]["step"] == (9 if best else 3)
    assert torch.load(tmp_path / "best.pt")["position"]["step"] == (9 if best else 3)
    assert len(list(tmp_path.glob("step-*.pt"))) == (1 if best else 2)


def test_a_step_saved_twice_is_listed_once(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, 3)
    for value, (step, best) in enumerate([(2, False), (4, False), (4, True), (4, False), (6, False)]):
        kept.save(numbered(value), step=step, epoch=0, best=best)
    entries = checkpoint_index.read_index(tmp_path)
    assert [(entry.step, entry.best) for entry in entries] == [(4, True), (4, False), (6, False)]
    for wanted, value in (("4", 3), ("best", 2)):
        found = tmp_path / checkpoint_index.find(tmp_path, wanted).file
        assert torch_checkpoint.load(str(found), pytest.fail)["position"]["step"] == value
    files = {path.name for path in tmp_path.glob("step-*.pt")}
    assert files == {entry.file for entry in entries}


def test_unlisted_checkpoints_are_removed_if_there_is_an_index(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 2).save(numbered(1), step=1, epoch=0, best=False)
    for name in ("step-00000002.pt", "step-00000001-2.pt", "mine.pt"):
        (tmp_path / name).write_bytes(b"x")
    index = (tmp_path / "index.json").read_bytes()
    (tmp_path / "index.json").write_bytes(b"torn")
    Checkpoints(tmp_path, 2)
    assert len(list(tmp_path.glob("*.pt"))) == 4
    (tmp_path / "index.json").write_bytes(index)
    Checkpoints(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["mine.pt", "step-00000001.pt"]


def test_checkpoints_after_the_resumed_step_are_removed_by_the_next_save(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, 3)
    for step in (1, 2, 3):
        kept.save(numbered(step), step=step, epoch=0, best=step == 3)
    again = Checkpoints(tmp_path, 3)
    again.go_on_from(2)
    assert (tmp_path / "step-00000003.pt").exists()
    again.save(numbered(30), step=3, epoch=0, best=False)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "step-00000001.pt",
        "step-00000002.pt",
        "step-00000003-2.pt",
    ]
    assert torch_checkpoint.load(str(tmp_path), pytest.fail)["position"]["step"] == 30


def test_unfinished_files_of_a_killed_trainer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".saving-abc").write_bytes(b"half a check")
    Checkpoints(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []
