"""The probe in a real script: it changes nothing, and counts what happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import MAIN, TRAIN, pages_in, probed, run, script

from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage


def trainer(pages: Path) -> MappedPage:
    found = [page for page in pages_in(pages).scan() if not page.is_worker]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("workers", "kept"), [("0", ""), ("2", "persistent")])
def test_a_script_is_the_same_with_the_probe_and_its_steps_are_counted(workers: str, kept: str, tmp_path: Path) -> None:
    path = script(tmp_path, TRAIN + MAIN)
    alone = run([sys.executable, str(path), workers, kept])
    watched = run([sys.executable, str(path), workers, kept], probed(tmp_path / "pages"))
    assert (watched.returncode, watched.stdout, watched.stderr) == (0, alone.stdout, alone.stderr)
    slots = trainer(tmp_path / "pages").slots
    assert slots[layout.UPDATES] == slots[layout.BACKWARDS] == 3 * 29
    assert slots[layout.SAMPLES] == 3 * 200
    assert slots[layout.VALIDATION_BATCHES] == 3 * 4
    assert slots[layout.DISABLED] == 0
    assert 0 < slots[layout.WAIT] < slots[layout.STEP_SECONDS]
    assert slots[layout.COMPUTE] < slots[layout.STEP_SECONDS]


@pytest.mark.long
def test_workers_account_for_their_time(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        TRAIN.replace("return torch.tensor", "torch.randn(100, 100).svd()\n        return torch.tensor") + MAIN,
    )
    assert run([sys.executable, str(path), "2", "persistent"], probed(tmp_path / "pages")).returncode == 0
    workers = [
        page for page in pages_in(tmp_path / "pages").scan() if page.is_worker and page.slots[layout.WORKER_ID] >= 0
    ]
    assert len(workers) == 2
    assert sum(page.slots[layout.WORKER_SAMPLES] for page in workers) == 3 * 200
    for page in workers:
        assert 0 < page.slots[layout.CPU] <= page.slots[layout.BUSY] * 1.1
        assert page.slots[layout.WORKING_SINCE] == 0


ACCUMULATED = """
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Linear(2, 1)
first, second = torch.optim.SGD(model.parameters(), 0.1), torch.optim.SGD(model.parameters(), 0.25)
loader = DataLoader(TensorDataset(torch.randn(48, 2)), batch_size=4)
for number, (x,) in enumerate(loader):
    model(x).sum().backward()
    if number % 3 == 2:
        optimizer = first if number % 2 else second
        optimizer.step()
        optimizer.zero_grad()
for (x,) in loader:
    model(x)
"""


@pytest.mark.long
def test_accumulation_two_optimizers_and_validation_with_gradients(tmp_path: Path) -> None:
    path = script(tmp_path, ACCUMULATED)
    assert run([sys.executable, str(path)], probed(tmp_path / "pages")).returncode == 0
    slots = trainer(tmp_path / "pages").slots
    assert (slots[layout.UPDATES], slots[layout.BACKWARDS], slots[layout.SAMPLES]) == (4, 12, 48)
    assert slots[layout.VALIDATION_BATCHES] == 12


INLINE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], 0.1)
data = TensorDataset(torch.randn(48, 3))
for (x,) in DataLoader(data, batch_size=4, num_workers=WORKERS, persistent_workers=WORKERS > 0):
    (weight * x).sum().backward()
    optimizer.step()
"""


@pytest.mark.long
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_loader_that_only_its_iterator_outlives_is_described(workers: str, tmp_path: Path) -> None:
    path = script(tmp_path, INLINE.replace("WORKERS", workers))
    assert run([sys.executable, str(path)], probed(tmp_path / "pages")).returncode == 0
    said = [line for line in trainer(tmp_path / "pages").lines() if line["kind"] == "loader"]
    assert [(line["file"], line["line"], line["workers"]) for line in said] == [(str(path), 8, int(workers))]


NO_LOADER = """
import torch

weight = torch.nn.Parameter(torch.ones(3))
for _ in range(60):
    (weight * torch.randn(3)).sum().backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad = None
"""


def test_without_optimizer_and_loader_backward_passes_are_the_updates(tmp_path: Path) -> None:
    path = script(tmp_path, NO_LOADER)
    assert run([sys.executable, str(path)], probed(tmp_path / "pages")).returncode == 0
    slots = trainer(tmp_path / "pages").slots
    assert slots[layout.BACKWARDS] == 60
    assert slots[layout.UPDATES] == 40  # the first 20 show that no optimizer comes
    assert slots[layout.LOADERS] == 0


BROKEN = """
import torch
from torch.utils.data import DataLoader, TensorDataset
import sys

start = sys.modules["_gputrain_probe.start"]
steps = sys.modules["_gputrain_probe.steps"].Steps
def fail(*_):
    raise ValueError("a fault of the probe's own")
steps.backward = steps.fetched = fail
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for (x,) in DataLoader(TensorDataset(torch.randn(48, 2)), batch_size=4):
    model(x).sum().backward()
    optimizer.step()
print("trained")
"""


def test_a_fault_of_the_probe_ends_a_hook_and_not_the_script(tmp_path: Path) -> None:
    path = script(tmp_path, BROKEN)
    done = run([sys.executable, str(path)], probed(tmp_path / "pages"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "")
    page = trainer(tmp_path / "pages")
    assert page.slots[layout.DISABLED] == 2
    assert {line["hook"] for line in page.lines() if line["kind"] == "disabled"} == {"backward", "loader"}


def test_a_sitecustomize_that_is_shadowed_runs_and_the_search_path_is_the_scripts_own(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import builtins\nbuiltins.shadowed = __file__\n")
    path = script(tmp_path, "import sys\nprint(shadowed)\nprint(sys.path)\n")
    environment = probed(tmp_path / "pages")
    environment["PYTHONPATH"] += f":{site}"
    plain = {**environment, "PYTHONPATH": environment["PYTHONPATH"].partition(":")[2]}
    assert run([sys.executable, str(path)], environment).stdout == run([sys.executable, str(path)], plain).stdout


def test_a_folder_of_pages_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    path = script(tmp_path, TRAIN + MAIN)
    environment = probed(tmp_path / "pages")
    (tmp_path / "pages").rmdir()
    done = run([sys.executable, str(path), "0", ""], environment)
    assert (done.returncode, done.stderr) == (0, "")
