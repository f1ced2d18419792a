"""Scripts of a user's own, written to a folder and run with or without the probe, and as runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from gputrain.engine import probe
from gputrain.engine.user_script.page_reader import PageFolder

TIMEOUT = 280.0
LOCAL_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
"""Without the address it waits for the machine's own name, which some machines cannot resolve."""
EXEC = [sys.executable, "-m", "gputrain.tui.cli", "exec"]

TRAIN = """
import hashlib, sys
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        return torch.tensor([float(index)]), index

def main(workers, persistent):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    loader = DataLoader(Numbers(), batch_size=7, shuffle=True, num_workers=workers,
                        persistent_workers=persistent and workers > 0)
    validation = DataLoader(Numbers(), batch_size=50)
    seen = []
    for epoch in range(3):
        for x, index in loader:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            seen.append((index.tolist(), loss.item()))
            after_step(len(seen))
        with torch.no_grad():
            for x, index in validation:
                model(x)
    weights = [one.tolist() for one in model.parameters()]
    print(hashlib.sha256(repr((seen, weights, torch.rand(2).tolist())).encode()).hexdigest())

def after_step(count):
    pass
"""
"""A training whose printed hash holds the order of all samples, each loss, the weights and the generator's state."""

MAIN = """
if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "persistent")
"""

CHANGE = '''
def after_step(count):
    """What a supervisor does: write a request into the page."""
    import gc
    probe = sys.modules.get("_gputrain_probe.page")
    if probe is None:
        return
    page = next(one for one in gc.get_objects() if isinstance(one, probe.Probe)).page
    layout = sys.modules["_gputrain_probe.layout"]
    for at, workers, persistent in REQUESTS:
        if count == at:
            page.slots[layout.WANTED_WORKERS], page.slots[layout.WANTED_PERSISTENT] = workers, persistent
            page.slots[layout.WANTED_PREFETCH] = page.slots[layout.WANTED_PIN] = -1
            page.slots[layout.WANTED] += 1
    if count == 3 * 29:
        print("answers", page.slots[layout.ANSWERED], page.slots[layout.ANSWER], file=sys.stderr)
'''
"""Goes with TRAIN: asks for other numbers of workers, by REQUESTS of (update, workers, persistent)."""


def script(folder: Path, text: str, name: str = "my_train.py") -> Path:
    """Write a script."""
    path = folder / name
    path.write_text(text)
    return path


def probed(pages: Path) -> dict[str, str]:
    """The environment in which the probe is injected, with its pages in `pages`."""
    pages.mkdir(exist_ok=True)
    inject = str(Path(probe.__file__).with_name("inject"))
    path = os.pathsep.join(filter(None, (inject, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "GPUTRAIN_EXEC_PAGES": str(pages)}


def run(
    command: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT)


def pages_in(folder: Path) -> PageFolder:
    """The pages of processes that have ended."""
    return PageFolder(folder)
