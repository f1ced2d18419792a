"""A network of the user's own in which rank 1 hangs after 20 steps."""

from __future__ import annotations

HANGING = """
import time
import torch.distributed as dist
from torch import nn

class Hanging(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.last, self.calls = nn.Linear(3 * 32 * 32, outputs), 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 20 and dist.get_rank() == 1:
            time.sleep(600)  # line 14
        return self.last(x.flatten(1))

def make(outputs):
    return Hanging(outputs)
"""
