"""What is learned of training loops of all shapes, with torch alone; what can't be learned is unknown and never 0."""

from __future__ import annotations

import pytest
from helpers.scripts.forked import Seen, run_forked

from gputrain.engine.probe import layout

IMPORTS = """
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

torch.set_num_threads(1)
x, y = torch.randn(96, 8), torch.randint(0, 3, (96,))
rows = TensorDataset(x, y)
model = torch.nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)

class Stream(IterableDataset):
    def __iter__(self):
        return zip(x, y)

def loss_of(a, b, network=model):
    return torch.nn.functional.cross_entropy(network(a), b)

def train(a, b):
    optimizer.zero_grad()
    loss_of(a, b).backward()
    optimizer.step()
"""
SHAPES = {
    "plain": """
validation = DataLoader(rows, 32)
loader = DataLoader(rows, batch_size=8, shuffle=True)
for epoch in range(2):
    for a, b in loader:
        train(a, b)
    with torch.no_grad():
        for a, b in validation:
            model(a)
""",
    "iterable": """
for a, b in DataLoader(Stream(), batch_size=8):
    train(a, b)
""",
    "no_batching": """
for a, b in DataLoader(Stream(), batch_size=None):
    train(a[None], b[None])
""",
    "batches_of_the_data_set": """
class Batches(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return x[index * 8:index * 8 + 8], y[index * 8:index * 8 + 8]
for a, b in DataLoader(Batches(), batch_size=None):
    train(a, b)
""",
    "dicts": """
class Dicts(Dataset):
    def __len__(self):
        return 96
    def __getitem__(self, index):
        return {"id": str(index), "a": x[index], "b": {"c": y[index]}}
for batch in DataLoader(Dicts(), batch_size=8):
    train(batch["a"], batch["b"]["c"])
""",
    "dicts_of_a_stream": """
class Dicts(IterableDataset):
    def __iter__(self):
        return ({"a": x[index], "b": y[index]} for index in range(96))
for batch in DataLoader(Dicts(), batch_size=8):
    train(batch["a"], batch["b"])
""",
    "gan": """
other = torch.nn.Linear(8, 3)
second = torch.optim.SGD(other.parameters(), 0.25)
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
    second.zero_grad()
    (100 * loss_of(a, b, other)).backward()
    second.step()
""",
    "zipped": """
second = TensorDataset(torch.randn(48, 8), torch.randint(0, 3, (48,)))
for (a, b), (c, d) in zip(DataLoader(rows, batch_size=8), DataLoader(second, batch_size=4)):
    train(torch.cat((a, c)), torch.cat((b, d)))
""",
    "several_loaders": """
for size in (8, 16, 32):
    for a, b in DataLoader(rows, batch_size=size):
        train(a, b)
""",
    "accumulated": """
for number, (a, b) in enumerate(DataLoader(rows, batch_size=8), 1):
    (loss_of(a, b) / 3).backward()
    if number % 3 == 0:
        optimizer.step()
        optimizer.zero_grad()
""",
    "fetched_four_ahead": """
batches = iter(DataLoader(rows, batch_size=8))
for _ in range(3):
    for a, b in [next(batches) for _ in range(4)]:
        loss_of(a, b).backward()
    optimizer.step()
    optimizer.zero_grad()
""",
    "no_optimizer": """
for _ in range(5):
    for a, b in DataLoader(rows, batch_size=8):
        loss_of(a, b).backward()
        with torch.no_grad():
            for one in model.parameters():
                one -= 0.1 * one.grad
                one.grad = None
""",
    "no_loader": """
for _ in range(24):
    train(x[:8], y[:8])
""",
    "cycle": """
import itertools
for number, (a, b) in enumerate(itertools.cycle(DataLoader(rows, batch_size=8))):
    train(a, b)
    if number == 99:
        break
""",
    "thread": """
import queue, threading
loader, waiting = DataLoader(rows, batch_size=8), queue.Queue(5)
def read():
    for _ in range(2):
        for batch in loader:
            waiting.put(batch)
    waiting.put(None)
threading.Thread(target=read).start()
for a, b in iter(waiting.get, None):
    train(a, b)
""",
    "trained_in_a_thread": """
import threading
def all_of_it():
    for a, b in DataLoader(rows, batch_size=8):
        train(a, b)
one = threading.Thread(target=all_of_it)
one.start()
one.join()
""",
    "by_hand": """
for a, b in DataLoader(rows, batch_size=8):
    found = torch.autograd.grad(loss_of(a, b), list(model.parameters()))
    with torch.no_grad():
        for one, gradient in zip(model.parameters(), found):
            one -= 0.1 * gradient
""",
    "functional": """
for _ in range(4):
    for a, b in DataLoader(rows, batch_size=8):
        found = torch.autograd.grad(loss_of(a, b), list(model.parameters()))
        for one, gradient in zip(model.parameters(), found):
            one.grad = gradient
        optimizer.step()
""",
    "autograd_backward": """
for a, b in DataLoader(rows, batch_size=8):
    optimizer.zero_grad()
    torch.autograd.backward([loss_of(a, b)])
    optimizer.step()
""",
    "checkpointed": """
from torch.utils.checkpoint import checkpoint
for a, b in DataLoader(rows, batch_size=8):
    optimizer.zero_grad()
    hidden = checkpoint(model, a.requires_grad_(), use_reentrant=True)
    torch.nn.functional.cross_entropy(hidden, b).backward()
    optimizer.step()
""",
    "scheduled": """
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
    scheduler.step()
""",
    "many_workers": """
loader = DataLoader(rows, batch_size=8, num_workers=1, persistent_workers=True, shuffle=True)
for _ in range(2):
    for a, b in loader:
        train(a, b)
""",
    "endless_iterator": """
class Endless(DataLoader):
    def __len__(self):
        return 12
class Again:
    def __init__(self, sampler):
        self.sampler = sampler
    def __iter__(self):
        while True:
            yield from self.sampler
loader = Endless(rows, batch_size=8)
object.__setattr__(loader, "batch_sampler", Again(loader.batch_sampler))
batches = iter(loader)
for _ in range(30):
    train(*next(batches))
""",
}
EXACT = {
    # updates, samples, validation batches
    "plain": (24, 192, 6),
    "iterable": (12, 96, 0),
    "batches_of_the_data_set": (12, 96, 0),
    "dicts": (12, 96, 0),
    "dicts_of_a_stream": (12, 96, 0),
    "gan": (24, 96, 0),
    "zipped": (12, 144, 0),
    "several_loaders": (12 + 6 + 3, 3 * 96, 0),
    "accumulated": (4, 96, 0),
    "fetched_four_ahead": (3, 96, 0),
    # The first 20 backward passes show that no optimizer comes.
    "no_optimizer": (40, 480, 0),
    # The same for steps without a backward pass; what the first pass gave is not known to be trained on.
    "functional": (28, 288, 12),
    "autograd_backward": (12, 96, 0),
    "checkpointed": (12, 96, 0),
    "scheduled": (12, 96, 0),
    "trained_in_a_thread": (12, 96, 0),
    "many_workers": (24, 192, 0),
    "endless_iterator": (30, 240, 0),
    "thread": (24, 192, 0),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    return run_forked(tmp_path_factory.mktemp("shapes"), IMPORTS, SHAPES)


@pytest.mark.parametrize("name", EXACT)
def test_steps_samples_and_validation_are_exact(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    assert (one.updates, one.samples, one.validation) == EXACT[name]


@pytest.mark.parametrize("name", sorted({*EXACT, "no_batching"} - {"thread"}))
def test_the_wait_is_known(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    assert one.unknown == ""
    assert 0 < one.slot(layout.WAIT) <= one.slot(layout.STEP_SECONDS)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_loader", "reads no DataLoader"),
        ("cycle", "batches that it keeps"),
        ("thread", "another thread reads the DataLoader"),
    ],
)
def test_the_wait_is_unknown(name: str, why: str, seen: dict[str, Seen]) -> None:
    assert why in seen[name].unknown
    assert seen[name].updates >= 24


def test_one_sample_in_a_batch_without_batching(seen: dict[str, Seen]) -> None:
    # Each "batch" is a row of eight numbers: its first dimension stands for what the script calls samples.
    assert seen["no_batching"].updates == 96


def test_updates_by_hand_are_not_seen(seen: dict[str, Seen]) -> None:
    one = seen["by_hand"]
    assert (one.updates, one.slot(layout.BACKWARDS), one.slot(layout.LOADERS)) == (0, 0, 1)


def test_losses_of_two_optimizers_are_not_mixed(seen: dict[str, Seen]) -> None:
    assert seen["gan"].slot(layout.LOSS_UPDATE) == -1
    assert seen["plain"].slot(layout.LOSS_UPDATE) > 0


def test_a_dictionary_of_a_map_style_set_counts_indices(seen: dict[str, Seen]) -> None:
    assert [line["batch_size"] for line in seen["dicts"].loaders()] == [8]


def test_passes_are_counted(seen: dict[str, Seen]) -> None:
    assert [line["passes"] for line in seen["many_workers"].loaders()] == [1, 2]
    assert [line["length"] for line in seen["several_loaders"].loaders()] == [12, 6, 3]
    assert [line["passes"] for line in seen["several_loaders"].loaders()] == [1, 1, 1]
