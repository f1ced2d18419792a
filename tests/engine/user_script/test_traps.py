"""What a naive hook would count wrongly, change or break: each is a small script that the probe must get right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.forked import Seen, run_forked
from helpers.scripts.trap_scripts import EXPECTED, IMPORTS, SCRIPTS
from helpers.scripts.watched import pages_in, probed, run, script

from gputrain.engine.probe import layout


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    return run_forked(tmp_path_factory.mktemp("traps"), IMPORTS, SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_updates_samples_and_validation(name: str, seen: dict[str, Seen]) -> None:
    one = seen[name]
    assert (one.updates, one.samples, one.validation) == EXPECTED[name]


@pytest.mark.parametrize("name", ["scaler_skips", "scaler_skips_fused"])
def test_skipped_updates_are_counted_apart_and_the_loss_is_unscaled(name: str, seen: dict[str, Seen]) -> None:
    assert seen[name].slot(layout.SKIPPED) == 3
    assert not 3 < seen[name].slot(layout.LOSS) < float("inf")


def test_a_loss_on_a_device_is_not_read(seen: dict[str, Seen]) -> None:
    assert seen["not_on_the_host"].slot(layout.LOSS_UPDATE) == -1


def test_usual_steps_are_counted_as_any_other(seen: dict[str, Seen]) -> None:
    """Most steps are counted at once; the sums are those of a count at each batch, backward pass and update."""
    names = ["BACKWARDS", "SAMPLES", "BATCHES", "WAIT", "FIRST_WAIT", "WAIT_SQUARES", "FORWARD", "LAST_STEP", "UPDATES"]
    names += ["COMPUTE", "STEP_SECONDS", "DRY", "PHASE", "EPOCH_BATCHES", "VALIDATION_BATCHES", "VALIDATION_SECONDS"]
    sums = [{key: seen[name].slot(getattr(layout, key)) for key in names} for name in ("any_order", "any_order_singly")]
    assert sums[0] == pytest.approx(sums[1], rel=1e-9)


TWICE = """
from tqdm.auto import tqdm as bar
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(96, 8)), batch_size=8, num_workers=2, persistent_workers=KEPT)
for epoch in range(2):
    for (a,) in bar(loader):
        model(a).sum().backward()
        optimizer.step()
"""


@pytest.mark.long
@pytest.mark.parametrize("kept", ["False", "True"])
def test_a_progress_bar_that_starts_the_loader_twice_is_named(kept: str, tmp_path: Path) -> None:
    path = script(tmp_path, TWICE.replace("KEPT", kept))
    assert run([sys.executable, str(path)], probed(tmp_path / "pages")).returncode == 0
    page = next(page for page in pages_in(tmp_path / "pages").scan() if not page.is_worker)
    said = [line for line in page.lines() if line["kind"] == "loader"]
    assert [(line["twice"], line["passes"]) for line in said] == [("tqdm.auto", 1), ("tqdm.auto", 2)]
    assert page.slots[layout.SAMPLES] == 192


RAISING = """
import sys, warnings
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

class Rows(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index == 5:
            raise KeyError("a fault of the script's own")
        return torch.ones(1)

class Longer(IterableDataset):
    def __len__(self):
        return 2
    def __iter__(self):
        return iter(torch.ones(4, 1))

def main():
    what = sys.argv[1]
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.1)
    if what == "warning":
        for one in DataLoader(Longer(), num_workers=0, batch_size=1):
            (weight * one).sum().backward()
            optimizer.step()
        DataLoader(Rows(), num_workers=500)
    elif what == "backward":
        loss = (weight * weight).sum()
        loss.backward()
        loss.backward()
    elif what == "log":
        from torch.utils.tensorboard import SummaryWriter
        SummaryWriter(sys.argv[2]).add_scalar("a", object())
    else:
        for one in DataLoader(Rows(), num_workers=int(what)):
            (weight * one).sum().backward()
            optimizer.step()

if __name__ == "__main__":
    main()
"""


@pytest.mark.long
@pytest.mark.parametrize("what", ["0", "1", "backward", "warning", "log"])
def test_tracebacks_and_warnings_show_the_script_and_not_the_probe(what: str, tmp_path: Path) -> None:
    path = script(tmp_path, RAISING)
    command = [sys.executable, str(path), what, str(tmp_path / "log")]
    alone, watched = run(command), run(command, probed(tmp_path / "pages"))
    # A package that TensorBoard loads where it is installed prints the time.
    said = [done.stderr[max(0, done.stderr.find("Traceback")) :] for done in (alone, watched)]
    assert said[0]
    assert (watched.returncode, said[1]) == (alone.returncode, said[0])


START_METHOD = """
import sys
import torch
from torch.utils.data import DataLoader, TensorDataset

if __name__ == "__main__":
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rows = TensorDataset(torch.randn(32, 8))
    for (a,) in DataLoader(rows, batch_size=8, num_workers=1, multiprocessing_context=sys.argv[1]):
        model(a).sum().backward()
        optimizer.step()
"""


@pytest.mark.long
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_accounts_for_itself_however_it_is_started(method: str, tmp_path: Path) -> None:
    path = script(tmp_path, START_METHOD)
    done = run([sys.executable, str(path), method], probed(tmp_path / "pages"))
    assert (done.returncode, done.stderr) == (0, "")
    pages = pages_in(tmp_path / "pages").scan()
    assert [page.slots[layout.WORKER_SAMPLES] for page in pages if page.is_worker] == [32]
    assert [page.slots[layout.SAMPLES] for page in pages if not page.is_worker] == [32]
