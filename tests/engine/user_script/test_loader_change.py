"""The workers of an unedited script change while it runs: order, samples, losses and generators stay as they were."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import CHANGE, MAIN, TRAIN, pages_in, probed, run, script


@pytest.mark.long
@pytest.mark.parametrize(
    ("workers", "kept", "requests"),
    [
        ("0", "", [(10, 2, -1)]),
        ("0", "", [(10, 2, 1), (40, 0, -1)]),
        ("2", "", [(10, 3, 1)]),
        ("2", "persistent", [(10, 0, -1)]),
        ("2", "persistent", [(10, 3, -1), (40, 2, 0)]),
    ],
)
def test_the_workers_change_and_nothing_else(
    workers: str, kept: str, requests: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    path = script(tmp_path, TRAIN + f"\nREQUESTS = {requests}\n" + CHANGE + MAIN)
    alone = run([sys.executable, str(path), workers, kept])
    changed = run([sys.executable, str(path), workers, kept], probed(tmp_path / "pages"))
    assert changed.returncode == 0, changed.stderr
    assert f"answers {len(requests)}.0 1.0" in changed.stderr
    assert changed.stdout == alone.stdout


@pytest.mark.long
def test_an_iterable_data_set_is_refused(tmp_path: Path) -> None:
    stream = "class Stream(torch.utils.data.IterableDataset):\n    def __iter__(self):\n"
    stream += "        return iter(Numbers()[index] for index in range(200))\n\n"
    text = TRAIN.replace("class Numbers(Dataset):", stream + "class Numbers(Dataset):")
    text = text.replace("DataLoader(Numbers(), batch_size=7, shuffle=True,", "DataLoader(Stream(), batch_size=7,")
    path = script(tmp_path, text + "\nREQUESTS = [(10, 2, -1)]\n" + CHANGE + MAIN)
    changed = run([sys.executable, str(path), "0", ""], probed(tmp_path / "pages"))
    assert changed.returncode == 0, changed.stderr
    assert "answers 1.0 -1.0" in changed.stderr


@pytest.mark.long
def test_workers_that_would_share_an_open_file_are_refused(tmp_path: Path) -> None:
    """Forked, they would move one position, and each read what is meant for another one."""
    own = "    def __init__(self):\n        self.rows = open(__file__)\n\n    def __len__(self):"
    text = TRAIN.replace("    def __len__(self):", own)
    path = script(tmp_path, text + "\nREQUESTS = [(10, 2, -1)]\n" + CHANGE + MAIN)
    alone = run([sys.executable, str(path), "0", ""])
    asked = run([sys.executable, str(path), "0", ""], probed(tmp_path / "pages"))
    assert asked.returncode == 0, asked.stderr
    assert "answers 1.0 -1.0" in asked.stderr
    (page,) = (page for page in pages_in(tmp_path / "pages").scan() if not page.is_worker)
    (refused,) = (line["refused"] for line in page.lines() if line["kind"] == "change")
    assert refused == "the data set holds dataset.rows open: workers would read it from one shared position"
    assert asked.stdout == alone.stdout


ACCELERATED = """
from accelerate import Accelerator

def main(workers, persistent):
    torch.manual_seed(3)
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(1, 1)
    loader = DataLoader(Numbers(), batch_size=7, shuffle=True, num_workers=workers)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 1e-6), loader)
    seen = []
    for epoch in range(3):
        for x, index in loader:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            seen.append((index.tolist(), loss.item()))
            after_step(len(seen))
    print(seen)
    print("workers", loader.base_dataloader.num_workers, file=sys.stderr)
"""


@pytest.mark.frameworks
def test_the_loader_below_the_one_of_accelerate_is_changed(tmp_path: Path) -> None:
    text = TRAIN.partition("def main")[0] + ACCELERATED + "\nREQUESTS = [(10, 2, -1)]\n" + CHANGE + MAIN
    path = script(tmp_path, text)
    alone = run([sys.executable, str(path), "0", ""])
    changed = run([sys.executable, str(path), "0", ""], probed(tmp_path / "pages"))
    assert changed.returncode == 0, changed.stderr
    assert "answers 1.0 1.0" in changed.stderr
    assert ("workers 0" in alone.stderr, "workers 2" in changed.stderr) == (True, True)
    assert changed.stdout == alone.stdout
