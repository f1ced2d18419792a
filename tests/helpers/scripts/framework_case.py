"""A small training in the style of a framework, and what must be seen of it."""

from __future__ import annotations

from msgspec import Struct

DATA = """
import os, sys
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = torch.randn(96, 8), torch.randint(0, 3, (96,))
model = torch.nn.Linear(8, 3)
folder = os.getcwd()
"""


class Case(Struct, frozen=True):
    """A script, and what is seen of it."""

    text: str
    updates: int = 24
    samples: int = 192
    validation: int = 6
    scalars: frozenset[str] = frozenset()
    """Some of the names that are logged."""
    made_at: str = ""
    """A piece of the line where the training loader is made; empty: not in the script."""
    framework: str = ""
    """The package that makes the loader."""
