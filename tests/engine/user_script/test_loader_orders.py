"""Loaders of every kind, whose settings change in the middle of a pass: the indices are those of the undisturbed
script, each once and in the same order, or the change is refused and the reason is said."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.scripts.watched import pages_in, probed, run, script

from gputrain.engine.probe import layout

LOADERS = """
import itertools, json, random, sys
import torch
from torch.utils.data import (BatchSampler, DataLoader, Dataset, DistributedSampler, IterableDataset, RandomSampler,
                              SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)

class Numbers(Dataset):
    def __len__(self):
        return 84
    def __getitem__(self, index):
        return torch.tensor([float(index)]), index

class Stream(IterableDataset):
    def __iter__(self):
        return iter(Numbers()[index] for index in range(84))

class Own:
    def __iter__(self):
        return iter(torch.randperm(84).tolist())
    def __len__(self):
        return 84

class OwnBatches(Own):
    def __iter__(self):
        whole = torch.randperm(84).split(6)
        return iter([one.tolist() for one in whole])
    def __len__(self):
        return 14

def seeded(number=1):
    return torch.Generator().manual_seed(number)

data = Numbers()
torch.set_num_threads(1)
MAKERS = {
    "in order": lambda **how: DataLoader(data, 6, **how),
    "shuffled": lambda **how: DataLoader(data, 6, shuffle=True, **how),
    "shuffled by a generator": lambda **how: DataLoader(data, 6, shuffle=True, generator=seeded(), **how),
    "drop_last": lambda **how: DataLoader(data, 7, shuffle=True, drop_last=True, **how),
    "batch_size=None": lambda **how: DataLoader(data, None, shuffle=True, **how),
    "with replacement": lambda **how: DataLoader(data, 6, sampler=RandomSampler(data, True), **how),
    "weighted": lambda **how: DataLoader(data, 6, sampler=WeightedRandomSampler([1.0] * 84, 84), **how),
    "subset": lambda **how: DataLoader(data, 6, sampler=SubsetRandomSampler(range(10, 70)), **how),
    "distributed": lambda **how: DataLoader(data, 6, sampler=DistributedSampler(data, 1, 0), **how),
    "batch_sampler": lambda **how: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 6, False), **how),
    "sampler of one's own": lambda **how: DataLoader(data, 6, sampler=Own(), **how),
    "batch_sampler of one's own": lambda **how: DataLoader(data, batch_sampler=OwnBatches(), **how),
    "iterable": lambda **how: DataLoader(Stream(), 6, **how),
    "not in order": lambda **how: DataLoader(data, 6, in_order=False, **how),
    "cycle": lambda **how: itertools.cycle(DataLoader(data, 6, shuffle=True, **how)),
}
"""
PASSES = """
def page():
    import gc
    probe = sys.modules.get("_gputrain_probe.page")
    return next((one.page for one in gc.get_objects() if isinstance(one, probe.Probe)), None) if probe else None

def ask(wanted):
    slots, layout = page().slots, sys.modules["_gputrain_probe.layout"]
    for name in ("WORKERS", "PREFETCH", "PERSISTENT", "PIN"):
        slots[getattr(layout, "WANTED_" + name)] = wanted.get(name.lower(), -1)
    slots[layout.WANTED] += 1

def trained(loader, wanted, passes=2):
    torch.manual_seed(3)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 1e-9)
    seen, given, steps = [], list(wanted), 0
    for _ in range(passes):
        for x, index in itertools.islice(loader, 60):
            (weight * x).sum().backward()
            optimizer.step()
            seen += torch.as_tensor(index).reshape(-1).tolist()
            steps += 1
            if steps % 9 == 5 and given and page() is not None:
                ask(given.pop(0))
    answered = None
    if page() is not None:
        slots, layout = page().slots, sys.modules["_gputrain_probe.layout"]
        answered = slots[layout.ANSWER] if slots[layout.ANSWERED] == slots[layout.WANTED] else 0
        slots[layout.WANTED] = slots[layout.ANSWERED]
    return {"seen": seen, "random": torch.rand(2).tolist(), "answered": answered}

if __name__ == "__main__":
    found = {}
    for place, name in enumerate(MAKERS):
        # Without workers each kind of loader; with workers one more for each, by turns, as they take long to start.
        for how, wanted in (CHANGES[0], *CHANGES[1:][place % 4 : place % 4 + 1]):
            found[f"{name}, {how}"] = trained(MAKERS[name](**how), wanted)
    print(json.dumps(found))
"""
CHANGES: list[tuple[dict[str, Any], list[dict[str, int]]]] = [
    ({}, [{"workers": 2, "prefetch": 3}, {"workers": 0}]),
    ({"num_workers": 2}, [{"prefetch": 4}, {"workers": 1, "persistent": 1}, {"pin": 1}]),
    ({"num_workers": 1, "persistent_workers": True}, [{"workers": 2}, {"persistent": 0}]),
]
PASS = 84
REFUSED = ("iterable", "not in order")


def _found(path: Path, pages: Path | None) -> dict[str, Any]:
    done = run([sys.executable, str(path)], probed(pages) if pages is not None else None)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.long
def test_the_order_of_every_kind_of_loader_stays(tmp_path: Path) -> None:
    path = script(tmp_path, f"{LOADERS}\nCHANGES = {CHANGES}\n{PASSES}")
    alone, changed = _found(path, None), _found(path, tmp_path / "pages")
    assert len(alone) == 15 + 8
    for name, one in alone.items():
        # torch asks such a sampler for a second order where there are workers; that this may be is said before.
        length = PASS if name.startswith("batch_sampler of one's own, {}") else len(one["seen"])
        assert changed[name]["seen"][:length] == one["seen"][:length], name
        assert length == PASS or changed[name]["random"] == one["random"], name
        # What `cycle` keeps is read once only, and the request that comes later stays without an answer.
        expected = (-1,) if name.startswith(REFUSED) else (0, 1) if name.startswith("cycle") else (1,)
        assert changed[name]["answered"] in expected, name
    said = [line for page in pages_in(tmp_path / "pages").scan() if not page.is_worker for line in page.lines()]
    assert not [line for line in said if line["kind"] == "disabled"]
    refusals = {line["refused"] for line in said if line["kind"] == "change" and "refused" in line}
    assert refusals == {
        "an IterableDataset gives other samples with another number of workers",
        "in_order=False: the order is that of the workers",
    }
    kept = {line["file"] and line["line"]: line["order_kept"] for line in said if line["kind"] == "loader"}
    names = [line.split('"')[1] for line in LOADERS.splitlines() if line.startswith('    "')]
    first = min(kept)
    others = {"sampler of one's own", "batch_sampler of one's own", "iterable"}
    assert {names[line - first] for line, same in kept.items() if not same} == others


@pytest.mark.frameworks
def test_a_stateful_loader_is_refused_and_goes_on(tmp_path: Path) -> None:
    if importlib.util.find_spec("torchdata") is None:
        pytest.skip("torchdata is not installed")
    text = "from torchdata.stateful_dataloader import StatefulDataLoader\n"
    # It draws its first seed when it is made.
    text += "def make(**how):\n    torch.manual_seed(2)\n    return StatefulDataLoader(data, 6, shuffle=True, **how)\n"
    text += 'MAKERS = {"stateful": make}\n'
    path = script(tmp_path, f"{LOADERS}\n{text}\nCHANGES = {CHANGES}\n{PASSES}")
    alone, changed = _found(path, None), _found(path, tmp_path / "pages")
    assert [one["seen"] for one in changed.values()] == [one["seen"] for one in alone.values()]
    assert {one["answered"] for one in changed.values()} == {-1}


LAMBDA = """
class Unpicklable(Numbers):
    def __init__(self):
        self.make = lambda index: torch.tensor([float(index)])
    def __getitem__(self, index):
        return self.make(index), index

MAKERS = {"unpicklable": lambda **how: DataLoader(Unpicklable(), 6, shuffle=True, **how)}
"""


@pytest.mark.long
def test_workers_that_cannot_be_started_leave_the_old_settings(tmp_path: Path) -> None:
    """The data set cannot be pickled, which only workers that are not forked need."""
    text = LAMBDA + "import _gputrain_change_test\n"
    (tmp_path / "_gputrain_change_test.py").write_text(
        "import sys\nchange = sys.modules.get('_gputrain_probe.loader_change')\n"
        "if change is not None:\n    change.cannot_start = lambda *_: ''\n"
    )
    text += "import torch.multiprocessing\ntorch.multiprocessing.set_start_method('spawn')\n"
    changes = [(dict[str, int](), [{"workers": 2}])]
    path = script(tmp_path, f"{LOADERS}\n{text}\nCHANGES = {changes}\n{PASSES}")
    alone, changed = _found(path, None), _found(path, tmp_path / "pages")
    assert [one["seen"] for one in changed.values()] == [one["seen"] for one in alone.values()]
    said = [line for page in pages_in(tmp_path / "pages").scan() if not page.is_worker for line in page.lines()]
    answers = [line.get("refused", "") for line in said if line["kind"] == "change"]
    assert answers[0] == ""
    assert answers[1].startswith("the new workers cannot be started")


@pytest.mark.long
def test_a_script_without_workers_that_would_spawn_them_is_refused(tmp_path: Path) -> None:
    text = "import torch.multiprocessing\ntorch.multiprocessing.set_start_method('spawn')\n"
    text += 'MAKERS = {"in order": MAKERS["in order"]}\n'
    changes = [(dict[str, int](), [{"workers": 2}])]
    path = script(tmp_path, f"{LOADERS}\n{text}\nCHANGES = {changes}\n{PASSES}")
    changed = _found(path, tmp_path / "pages")
    assert {one["answered"] for one in changed.values()} == {-1}


DRAWING = {
    "torch": "torch.rand(())",
    "random": "random.random()",
    "numpy": "__import__('numpy').random.rand()",
    "nothing": "torch.rand((), generator=seeded())",
}


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", DRAWING)
def test_random_numbers_that_a_data_set_draws_are_noticed(name: str, workers: int, tmp_path: Path) -> None:
    text = f"class Drawing(Numbers):\n    def __getitem__(self, index):\n        {DRAWING[name]}\n"
    text += "        return super().__getitem__(index)\n"
    text += "MAKERS = {'drawing': lambda **how: DataLoader(Drawing(), 6, **how)}\n"
    how = {"num_workers": workers} if workers else {}
    path = script(tmp_path, f"{LOADERS}\n{text}\nCHANGES = {[(how, [])]}\n{PASSES}")
    _found(path, tmp_path / "pages")
    pages = [page for page in pages_in(tmp_path / "pages").scan() if page.is_worker]
    drew = {page.slots[layout.DRAWS] for page in pages}
    assert drew == ({0.0} if name == "nothing" else {1.0})
