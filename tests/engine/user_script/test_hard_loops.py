"""Loops and environments that mislead a probe which takes the usual ones for granted."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.scripts.forked import Seen, run_forked
from helpers.scripts.watched import pages_in

from gputrain.engine.events import Notice
from gputrain.engine.probe import layout
from gputrain.engine.probe.loader_change import cannot_share
from gputrain.engine.user_script.readings import worker_sums
from gputrain.engine.user_script.script_rank import ScriptRank

IMPORTS = """
import os
import torch
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
x, y = torch.randn(96, 8), torch.randint(0, 3, (96,))
rows = TensorDataset(x, y)
model = torch.nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def train(a, b):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(a), b).backward()
    optimizer.step()
"""
LOOP = "for a, b in DataLoader(rows, batch_size=8):\n    train(a, b)\n"
SCRIPTS = {
    "rank_is_a_word": 'os.environ.update(RANK="main", WORLD_SIZE="")\n' + LOOP,
    "process_group": """
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
"""
    + LOOP,
    "arrays_of_indices": """
batches = [torch.arange(at, at + 8) for at in range(0, 96, 8)]
for a, b in DataLoader(rows, batch_sampler=batches, num_workers=1):
    train(a, b)
""",
    "generators_of_indices": """
batches = [(one for one in range(at, at + 8)) for at in range(0, 96, 8)]
for a, b in DataLoader(rows, batch_sampler=batches):
    train(a, b)
""",
    "logged": LOOP
    + """
from gputrain import report
report.log(loss=float("nan"), accuracy=0.5)
report.log(**{f"{number:03}" + "x" * 90: number for number in range(100)})
""",
    "two_models_in_two_threads": """
import threading
def learn():
    own = torch.nn.Linear(8, 3)
    steps = torch.optim.SGD(own.parameters(), 0.1)
    for a, b in DataLoader(rows, batch_size=16):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(own(a), b).backward()
        together.wait(60)
        steps.step()
together = threading.Barrier(2)
threads = [threading.Thread(target=learn) for _ in range(2)]
for one in threads:
    one.start()
for one in threads:
    one.join()
""",
    "a_thread_for_each_half": """
import threading
def half(batches):
    for a, b in batches:
        train(a, b)
for begin in (0, 48):
    loader = DataLoader(torch.utils.data.Subset(rows, range(begin, begin + 48)), batch_size=8)
    thread = threading.Thread(target=half, args=(loader,))
    thread.start()
    thread.join()
    import time
    time.sleep(0.06)  # the next batch has its bytes counted again
""",
    "loss_is_not_finite": """
with torch.no_grad():
    model.weight.fill_(float("inf"))
"""
    + LOOP,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hard")


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Seen]:
    return run_forked(folder, IMPORTS, SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_steps_and_samples_are_exact(name: str, seen: dict[str, Seen]) -> None:
    samples = 2 * 96 if name == "two_models_in_two_threads" else 96
    assert (seen[name].updates, seen[name].samples) == (12, samples)


def test_the_rank_is_that_of_the_process_group_or_of_the_launcher(seen: dict[str, Seen]) -> None:
    assert seen["process_group"].slot(layout.RANK) == 0
    assert seen["rank_is_a_word"].slot(layout.RANK) == -1


def test_workers_count_the_samples_of_arrays(seen: dict[str, Seen]) -> None:
    (worker,) = seen["arrays_of_indices"].workers
    assert worker_sums(worker).samples == 96


def test_scalars_beside_a_nan_and_many_of_them_arrive(seen: dict[str, Seen]) -> None:
    logged = seen["logged"].logged
    assert logged["accuracy"] == 0.5
    assert len(logged) == 101


def test_a_loss_that_is_not_finite_is_said_once(seen: dict[str, Seen], folder: Path) -> None:
    ranks = {page.pid: ScriptRank(page) for page in pages_in(folder / "pages").scan() if not page.is_worker}
    computed, logged = ranks[seen["loss_is_not_finite"].page.pid], ranks[seen["logged"].page.pid]
    (notice,) = (event.text for event in [*computed.said(), *computed.said()] if isinstance(event, Notice))
    assert notice.startswith("the loss is NaN or Inf at step ")
    (notice,) = (event.text for event in logged.said() if isinstance(event, Notice))
    assert notice.startswith("loss is NaN or Inf: lower the learning rate")


def test_a_data_set_with_an_open_file_gets_no_first_workers(tmp_path: Path) -> None:
    """Forked workers would move one common position, and read each other's bytes."""
    path = tmp_path / "rows"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0", b"0")

    def why(dataset: object, workers: int = 0) -> str:
        return cannot_share(SimpleNamespace(dataset=dataset, num_workers=workers), 2.0)

    with path.open("rb") as file, zipfile.ZipFile(path) as archive, sqlite3.connect(":memory:") as database:
        assert "holds dataset.file open" in why(SimpleNamespace(file=file))
        assert "holds dataset.dataset.parts[0].fp open" in why(
            SimpleNamespace(dataset=SimpleNamespace(parts=[archive]))
        )
        assert "holds dataset.rows['db'] open" in why(SimpleNamespace(rows={"db": database}))
        # It has workers already: that is the script's own choice.
        assert why(SimpleNamespace(file=file), workers=2) == ""
        kept = SimpleNamespace(file=file)
    assert why(kept) == ""
    assert why(SimpleNamespace(buffer=io.BytesIO(b"0"), names=["a"] * 1000)) == ""
