"""A person's own code that fails in the midst of a training."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil
from faultlab import TIMEOUT, Finding, Lab, Live, end, ending, let_go, lost

from gputrain.engine.events import ModelReady, Notice, Outcome, Phase, Steps
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.runs.run_directory import RunDir

DATA = '''
"""Pictures, one of which cannot be had."""

import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    classes = 2

    def __len__(self):
        return 400

    def __getitem__(self, index):
        if index == 137:
            raise ValueError("no such picture")
        return torch.full((3, 32, 32), index % 250, dtype=torch.uint8), index % 2


def make(data_dir):
    return Pictures()
'''
"""For ``custom=broken_data:make``."""

SLOW = '''
"""Pictures that take their time, each with something random in it."""

import time

import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    classes = 2

    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(0.02)
        return torch.rand(3, 32, 32), index % 2


def make(data_dir):
    return Pictures()
'''
"""For ``custom=slow_data:make``."""

HANGS = '''
"""Pictures, one of which never comes; or none of them."""

import time

import torch
from torch.utils.data import Dataset


class Pictures(Dataset):
    classes = 2

    def __len__(self):
        return 400

    def __getitem__(self, index):
        if index == 137:
            time.sleep(3600)
        return torch.full((3, 32, 32), index % 250, dtype=torch.uint8), index % 2


def make(data_dir):
    return Pictures()


def never(data_dir):
    time.sleep(3600)
'''
"""For ``custom=hanging_data:make`` and ``:never``."""

NETS = '''
"""A network on a device with room for so many images at once, which writes down what it learns."""

import os

import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.head = nn.Linear(3, outputs)

    def forward(self, images):
        if self.training and torch.is_grad_enabled():
            if len(images) > int(os.environ["ROOM"]):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            if not images.is_meta:
                with open(os.environ["SEEN"], "a") as file:
                    file.writelines(f"{hash(image.contiguous().numpy().tobytes())}\\n" for image in images)
        return self.head(images.mean(dim=(2, 3)))
'''
"""For ``model=small_nets:Small``."""


def dataset_raises_in_process(lab: Lab) -> Finding:
    """An exception in a data set of one's own, in a worker process: its sample and line are told, and the run ends."""
    return _raises(lab, num_workers=2)


def dataset_raises_in_trainer(lab: Lab) -> Finding:
    """The same without workers, in the trainer itself."""
    return _raises(lab, num_workers=0)


def _raises(lab: Lab, num_workers: int) -> Finding:
    more = {"num_workers": num_workers, "checkpoint_steps": 5, "seed": lab.random.getrandbits(20)}
    live = _own(lab, "broken_data", DATA, "make", **more)
    try:
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    line = 1 + DATA.splitlines().index('            raise ValueError("no such picture")')
    named = f"sample 137 failed at broken_data.py:{line} in __getitem__: ValueError: no such picture"
    true = ended.outcome is Outcome.FAILED and named in ended.reason and _logged(live.run)
    steps = max((event.step for event in live.events if isinstance(event, Steps)), default=0)
    return Finding(true and steps < 100, lost(live.run), ended.reason)


def own_worker_hangs_stopped_now(lab: Lab) -> Finding:
    """A data worker hangs in a person's code: told with the line that it is at; stop --now ends it all the same."""
    live = _hanging(lab, "make")
    try:
        told = live.until(Notice, lambda notice: "those of 2 of its data workers" in notice.text)
        _until_logged(live.run, "137", "__getitem__")
        family = psutil.Process(live.supervisor).children(recursive=True)
        live.attachment.send(StopCommand(checkpoint=False, sender="fault"))
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    left = psutil.wait_procs(family, timeout=TIMEOUT)[1]
    return Finding(ended.outcome is Outcome.STOPPED and not left, lost(live.run), told.text)


def own_worker_hangs_trainer_killed(lab: Lab) -> Finding:
    """kill -9 of a trainer whose data worker hangs: noticed, and the worker does not stay."""
    live = _hanging(lab, "make")
    try:
        live.until(Notice, lambda notice: "those of 2 of its data workers" in notice.text)
        trainer = live.until(ModelReady).trainer_pid
        workers = psutil.Process(trainer).children(recursive=True)
        os.kill(trainer, signal.SIGKILL)
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    left = psutil.wait_procs(workers, timeout=TIMEOUT)[1]
    killed = ended.outcome is Outcome.KILLED and ended.signal == signal.SIGKILL
    return Finding(killed and len(workers) >= 2 and not left, lost(live.run), ended.reason)


def own_data_never_come(lab: Lab) -> Finding:
    """A person's function that makes the data hangs, before there is a model: told with its line, and ended."""
    live = _hanging(lab, "never")
    try:
        told = live.until(Notice, lambda notice: f"in '{Phase.SCANNING_DATA}'" in notice.text)
        _until_logged(live.run, "never", "never")
        live.attachment.send(StopCommand(checkpoint=False, sender="fault"))
        ended = ending(live)
        let_go(live.run)
    finally:
        end(live)
    return Finding(ended.outcome is Outcome.STOPPED, lost(live.run), told.text)


def own_worker(lab: Lab) -> Finding:
    """kill -9 of a data worker on data of one's own: others take over, and every weight is as without that."""
    hit = _own(lab, "slow_data", SLOW, "make", max_steps=40)
    try:
        hit.until(Steps)
        trainer = hit.until(ModelReady).trainer_pid
        workers = [child for child in psutil.Process(trainer).children() if "spawn_main" in " ".join(child.cmdline())]
        time.sleep(lab.random.uniform(0, 0.3))
        lab.random.choice(workers).kill()
        told = hit.until(Notice, lambda notice: "new workers load its batches" in notice.text)
        ended = ending(hit)
        let_go(hit.run)
    finally:
        end(hit)
    whole = _own(lab, "slow_data", SLOW, "make", max_steps=40, num_workers=0)
    try:
        ending(whole)
        let_go(whole.run)
    finally:
        end(whole)
    finished = ended.outcome is Outcome.FINISHED and ended.step == 40
    return Finding(finished, lost(hit.run) + _different(hit.run, whole.run), told.text)


def _different(one: RunDir, other: RunDir) -> int:
    """Tensors of the last checkpoints' models that are not equal to the bit."""
    import torch

    first, second = (torch.load(run.checkpoints / "step-00000040.pt")["model"] for run in (one, other))
    return sum(not torch.equal(first[name], second[name]) for name in first)


def _hanging(lab: Lab, function: str) -> Live:
    return _own(lab, "hanging_data", HANGS, function, hang_seconds=2.0)


def _own(lab: Lab, module: str, code: str, function: str, **changes: Any) -> Live:
    """A run on data of one's own with two data workers."""
    folder = lab.folder / "code"
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    own = {"dataset": "custom", "custom": f"{module}:{function}", "code_dir": str(folder), "augment": "none"}
    return lab.launch(**{"num_workers": 2, **own, **changes})


def _until_logged(run: RunDir, after: str, function: str) -> None:
    """Wait until the log has a stack that is at the sleep after the line with `after`."""
    lines = HANGS.splitlines()
    number = 1 + next(i for i, line in enumerate(lines) if "sleep" in line and after in lines[i - 1])
    wanted = f'hanging_data.py", line {number} in {function}'
    deadline = time.monotonic() + TIMEOUT
    while wanted not in run.trainer_log.read_text(errors="replace"):
        assert time.monotonic() < deadline, f"no {wanted} in trainer.log"
        time.sleep(0.05)


def _logged(run: RunDir) -> bool:
    text = run.trainer_log.read_text(errors="replace")
    return "Traceback" in text and 'raise ValueError("no such picture")' in text
