"""A person's own code that fails in the midst of a training."""

from __future__ import annotations

from faultlab import Finding, Lab, end, ending, let_go, lost

from gputrain.engine.events import Outcome, Steps
from gputrain.engine.runs import RunDir

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
    code = lab.folder / "code"
    code.mkdir(exist_ok=True)
    (code / "broken_data.py").write_text(DATA)
    live = lab.launch(
        dataset="custom",
        custom="broken_data:make",
        code_dir=str(code),
        augment="none",
        num_workers=num_workers,
        checkpoint_steps=5,
        seed=lab.random.getrandbits(20),
    )
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


def _logged(run: RunDir) -> bool:
    text = run.trainer_log.read_text(errors="replace")
    return "Traceback" in text and 'raise ValueError("no such picture")' in text
