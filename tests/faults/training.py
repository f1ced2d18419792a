"""Faults inside a training: a hanging step, a NaN loss, files that are not images."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
from fakes.oddimages import deep_png, png
from faultlab import Finding, Lab, Live, bad_checkpoints, end, ending, let_go, lost
from killing import WORKERS, data_workers
from PIL import Image
from seen import samples, watched

from gputrain.engine.events import EpochEnded, LoaderStats, LogLine, Notice, Outcome, RunEnded, Steps
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.runs.run_directory import RunDir

FILES = 20
"""Of the folder in which some cannot be read: whole batches."""
NAN_DATA = """
import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    classes = 2

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.full((3, 32, 32), float("nan") if index == {bad} else index / 40), index % 2


def make(data_dir):
    return Pictures()
"""


def hang(lab: Lab) -> Finding:
    """The loop waits for a data worker that stands still: told, with the stack of every thread, and let go on."""
    live = lab.running(**WORKERS)
    since = live.newest + 1
    workers = data_workers(live.trainer)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    told = live.until(Notice, lambda notice: f"{workers[0]} is stopped" in notice.text, since=since)
    live.until(LogLine, lambda line: "most recent call first" in line.text, since=since)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    live.until(Notice, lambda notice: "the trainer goes on" in notice.text, since=told.seq)
    live.steps_on()
    # The same ones went on: nobody was taken for dead and replaced.
    same = data_workers(live.trainer) == workers and psutil.pid_exists(live.trainer)
    return Finding(same and "no sign of life" in told.text, lost(live.run), told.text)


def frozen(lab: Lab) -> Finding:
    """SIGSTOP to the trainer: told as what it is, and after SIGCONT it trains on."""
    live = lab.running(**WORKERS)
    since = live.newest + 1
    os.kill(live.trainer, signal.SIGSTOP)
    told = live.until(Notice, lambda notice: f"{live.trainer} is stopped" in notice.text, since=since)
    os.kill(live.trainer, signal.SIGCONT)
    live.steps_on()
    return Finding("no sign of life" in told.text, lost(live.run), told.text)


def nan_stops(lab: Lab) -> Finding:
    """A NaN loss stops the run, with the step and its images; the checkpoint before it stays."""
    before = lab.launch(max_steps=4)
    _ended(before)
    poisoned = lab.folder / "poisoned.pt"
    _poison(before.run.checkpoints / "step-00000004.pt", poisoned)
    live = lab.launch(resume_from=str(poisoned), max_steps=40)
    ended = _ended(live)
    named = ended.outcome is Outcome.FAILED and "the loss is nan at step" in ended.reason and ".jpg" in ended.reason
    return Finding(named, lost(live.run) + bad_checkpoints(before.run), ended.reason)


def nan_skipped(lab: Lab) -> Finding:
    """With nonfinite_loss=skip a NaN sample skips one update only, and is named."""
    code = lab.folder / "code"
    code.mkdir(exist_ok=True)
    bad = lab.random.randrange(40)
    (code / f"nan_data_{bad}.py").write_text(NAN_DATA.format(bad=bad))
    own = {"dataset": "custom", "custom": f"nan_data_{bad}:make", "code_dir": str(code), "augment": "none"}
    live = lab.launch(**own, nonfinite_loss="skip", epochs=3)
    ended = _ended(live)
    told = [event.text for event in live.events if isinstance(event, Notice) and "was skipped" in event.text]
    named = all(str(bad) in text.partition("(samples ")[2].rstrip(")").split(", ") for text in told)
    fine = ended.outcome is Outcome.FINISHED and len(told) == 3 and named and ended.step == 30
    return Finding(fine, lost(live.run) + _no_numbers(live.run), told[-1] if told else ended.reason)


def _no_numbers(run: RunDir) -> int:
    """Figures in the newest checkpoint that are none."""
    import torch

    state = torch.load(run.checkpoints / "step-00000030.pt", weights_only=True)
    return sum(int((~value.isfinite()).sum()) for value in state["model"].values())


def _ended(live: Live) -> RunEnded:
    try:
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    return ended


def _poison(checkpoint: Path, poisoned: Path) -> None:
    """A copy of a checkpoint with weights that are no numbers."""
    import torch

    state = torch.load(checkpoint, weights_only=True)
    next(iter(state["model"].values())).fill_(float("nan"))
    torch.save(state, poisoned)


def bad_files(lab: Lab) -> Finding:
    """Truncated, empty, foreign, huge and vanishing files: replaced, counted and listed; all others are learned from,
    CMYK, 16-bit and animated ones among them."""
    images = _own_images(lab)
    folder = images / "train" / "light"
    whole = (folder / "0.jpg").read_bytes()
    (folder / "0.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "1.jpg").write_bytes(b"")
    (folder / "2.jpg").write_bytes(lab.random.randbytes(2000))
    Image.new("CMYK", (40, 40), "tomato").save(folder / "3.jpg")
    (folder / "huge.png").write_bytes(png(60_000, 60_000, 8, 2, bytes(100)))
    (folder / "deep.png").write_bytes(deep_png(np.full((40, 40, 3), 40_000, np.uint16)))
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:], duration=40)
    frames[1].save(folder / "moving.webp", save_all=True, append_images=frames, duration=40, lossless=True)
    live, log = watched(lab, data_dir=str(images), augment="none")
    try:
        live.until(Steps)
        (images / "train" / "dark" / "5.jpg").unlink()
        told = live.until(Notice, lambda notice: "5.jpg" in notice.text)
        live.steps_on()
        # From an epoch that begins after the last file went to the end of the one after it.
        first = live.until(EpochEnded, since=live.newest + 1)
        live.until(EpochEnded, since=first.seq + 1)
        live.attachment.send(StopCommand(sender="fault"))
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    counted = sum(event.bad_images for event in live.events if isinstance(event, LoaderStats))
    expected = {"0.jpg", "1.jpg", "2.jpg", "5.jpg", "huge.png"}
    readable = set((images / "train").rglob("*.*")) - {folder / name for name in expected - {"5.jpg"}}
    epoch = samples(log)[(first.epoch + 1) * FILES : (first.epoch + 2) * FILES]
    unused = len(readable) - len(set(epoch))
    fine = ended.outcome is Outcome.STOPPED and _listed(live.run) == expected and len(epoch) == FILES
    return Finding(fine, lost(live.run) + abs(counted - len(expected)) + abs(unused), told.text)


def _listed(run: RunDir) -> set[str]:
    lines = (run.directory / "bad_images.csv").read_text().splitlines()[1:]
    return {Path(line.split(",")[1]).name for line in lines}


def _own_images(lab: Lab) -> Path:
    folder = lab.folder / f"images-{lab.random.getrandbits(32):x}"
    shutil.copytree(lab.images, folder)
    return folder
