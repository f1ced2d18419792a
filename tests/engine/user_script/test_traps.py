"""What a naive hook would count wrongly, change or break: each is a small script that the probe must get right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.forked import Seen, run_forked
from helpers.scripts.watched import pages_in, probed, run, script

from gputrain.engine.probe import layout

IMPORTS = """
import copy, pickle, sys, time
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

torch.set_num_threads(1)
x, y = torch.randn(96, 8), torch.randint(0, 3, (96,))
rows = TensorDataset(x, y)
model = torch.nn.Linear(8, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def loss_of(a, b):
    return torch.nn.functional.cross_entropy(model(a), b)

def train(a, b, optimizer=optimizer):
    optimizer.zero_grad()
    loss_of(a, b).backward()
    optimizer.step()
"""
SCALED = """
optimizer = torch.optim.{kind}
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for number, (a, b) in enumerate(DataLoader(rows, batch_size=8)):
    optimizer.zero_grad()
    loss = loss_of(a, b)
    scaler.scale(loss * 0 + 3 if number % 4 else loss * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
"""
SCRIPTS = {
    # 3 of 12 updates are skipped for infinite gradients.
    "scaler_skips": SCALED.format(kind="SGD(model.parameters(), 0.1)"),
    "scaler_skips_fused": SCALED.format(kind="Adam(model.parameters(), 0.1, fused=True)"),
    "subclass_after_its_base": """
class Own(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)
train(*rows[:8])
own = Own(model.parameters(), 0.1)
for a, b in DataLoader(rows, batch_size=8):
    train(a, b, own)
""",
    "subclass_alone": """
class Base(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {})
    def step(self, closure=None):
        pass
class Own(Base):
    def step(self, closure=None):
        return super().step(closure)
own = Own(model.parameters())
for a, b in DataLoader(rows, batch_size=8):
    train(a, b, own)
""",
    "several_optimizers_after_one_backward": """
other = torch.optim.Adam(model.parameters())
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
    other.step()
""",
    "step_on_the_instance": """
original = optimizer.step
optimizer.step = lambda *args: original(*args)
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
""",
    "compiled_model": """
model = torch.compile(model, backend="aot_eager")
for a, b in DataLoader(rows, batch_size=8):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(a), b).backward()
    optimizer.step()
""",
    "compiled_step": """
update = torch.compile(lambda: optimizer.step(), backend="eager")
for a, b in DataLoader(rows, batch_size=8):
    optimizer.zero_grad()
    loss_of(a, b).backward()
    update()
""",
    "validation_with_gradients_of_one_batch": """
validation = DataLoader(rows, batch_size=96)
for _ in range(3):
    for a, b in DataLoader(rows, batch_size=8):
        train(a, b)
    for a, b in validation:
        model(a)
""",
    "validation_with_gradients_left_after_one_batch": """
validation = DataLoader(rows, batch_size=8)
for _ in range(3):
    for a, b in DataLoader(rows, batch_size=8):
        train(a, b)
    for a, b in validation:
        model(a)
        break
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
""",
    "validation_with_gradients": """
loader, validation = DataLoader(rows, batch_size=8), DataLoader(rows, batch_size=8)
for _ in range(2):
    for a, b in loader:
        train(a, b)
    for a, b in validation:
        model(a)
""",
    "validation_on_the_training_loader": """
loader = DataLoader(rows, batch_size=8)
for _ in range(2):
    for a, b in loader:
        train(a, b)
    for a, b in loader:
        model(a)
""",
    "validation_without_a_word_in_mid_epoch": """
validation = DataLoader(rows, batch_size=8)
for number, (a, b) in enumerate(DataLoader(rows, batch_size=8)):
    train(a, b)
    if number == 5:
        for a, b in validation:
            model(a)
""",
    "looked_at_before": """
loader, validation = DataLoader(rows, batch_size=8), DataLoader(rows, batch_size=16)
next(iter(loader)), next(iter(validation))
for a, b in loader:
    train(a, b)
""",
    "one_batch_ahead": """
def ahead(loader):
    batches = iter(loader)
    batch = next(batches)
    for following in batches:
        yield batch
        batch = following
    yield batch
for _ in range(2):
    for a, b in ahead(DataLoader(rows, batch_size=8)):
        train(a, b)
""",
    "one_batch_ahead_and_alone": """
for a, b in list(DataLoader(rows, batch_size=96)):
    train(a, b)
""",
    "copied": """
loader = DataLoader(rows, batch_size=8)
for a, b in loader:
    train(a, b)
for one in (model, optimizer, loader):
    copy.deepcopy(one)
assert b"gputrain" not in pickle.dumps((model, optimizer.state_dict(), loader))
twin = pickle.loads(pickle.dumps(loader))
for a, b in twin:
    train(a, b)
""",
    "types_stay": """
module = sys.modules["torch.utils.data.dataloader"]
assert type(module.__spec__.loader).__name__ == "SourceFileLoader"
assert type(iter(DataLoader(rows))) is module._SingleProcessDataLoaderIter
assert DataLoader.__init__.__module__ == "torch.utils.data.dataloader"
assert DataLoader.__init__.__code__.co_filename == module.__file__
train(x, y)
""",
    "not_on_the_host": """
far = torch.nn.Linear(8, 3, device="meta")
optimizer = torch.optim.SGD(far.parameters(), 0.1)
for a, b in DataLoader(rows, batch_size=8):
    far(a.to("meta")).sum().backward()
    optimizer.step()
    time.sleep(0.05)
""",
    "a_child_that_trains": """
import os
loader = DataLoader(rows, batch_size=8)
for a, b in loader:
    train(a, b)
child = os.fork()
if not child:
    for a, b in loader:
        train(a, b)
    os._exit(0)
os.waitpid(child, 0)
""",
    "out_of_order": """
loader = DataLoader(rows, batch_size=8, num_workers=2, in_order=False)
for a, b in loader:
    train(a, b)
""",
    "detection": """
def batched(samples):
    return tuple(zip(*samples))
class Boxes(Dataset):
    def __len__(self):
        return 90
    def __getitem__(self, index):
        return x[index], {"boxes": torch.rand(index % 3, 4)}
for images, targets in DataLoader(Boxes(), batch_size=8, collate_fn=batched):
    train(torch.stack(images), torch.zeros(len(images), dtype=torch.long))
""",
    "validation_time": """
begun, validated = time.monotonic(), 0.0
for _ in range(3):
    for a, b in DataLoader(rows, batch_size=8):
        train(a, b)
    since = time.monotonic()
    with torch.no_grad():
        for a, b in DataLoader(rows, batch_size=48):
            time.sleep(0.1)
    time.sleep(0.1)
    validated += time.monotonic() - since
for a, b in DataLoader(rows, batch_size=8):
    train(a, b)
page = next(one for one in __import__("gc").get_objects() if type(one).__name__ == "Probe").page
assert page.slots[19] <= time.monotonic() - begun - validated + 0.05, "validation counts as step time"
""",
}
EXPECTED = {
    # updates, samples, validation batches
    "scaler_skips": (9, 96, 0),
    "scaler_skips_fused": (9, 96, 0),
    "subclass_after_its_base": (13, 96, 0),
    "subclass_alone": (12, 96, 0),
    "several_optimizers_after_one_backward": (12, 96, 0),
    "step_on_the_instance": (12, 96, 0),
    "compiled_model": (12, 96, 0),
    "compiled_step": (12, 96, 0),
    "validation_with_gradients_of_one_batch": (36, 288, 3),
    "validation_with_gradients_left_after_one_batch": (48, 384, 3),
    "validation_with_gradients": (24, 192, 24),
    "validation_on_the_training_loader": (24, 192, 24),
    "validation_without_a_word_in_mid_epoch": (12, 96, 12),
    "looked_at_before": (12, 96, 2),
    "one_batch_ahead": (24, 192, 0),
    "one_batch_ahead_and_alone": (1, 96, 0),
    "copied": (24, 192, 0),
    "types_stay": (1, 0, 0),
    "not_on_the_host": (12, 96, 0),
    "a_child_that_trains": (12, 96, 0),
    "out_of_order": (12, 96, 0),
    "detection": (12, 90, 0),
    "validation_time": (48, 384, 6),
}


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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_accounts_for_itself_however_it_is_started(method: str, tmp_path: Path) -> None:
    path = script(tmp_path, START_METHOD)
    done = run([sys.executable, str(path), method], probed(tmp_path / "pages"))
    assert (done.returncode, done.stderr) == (0, "")
    pages = pages_in(tmp_path / "pages").scan()
    assert [page.slots[layout.WORKER_SAMPLES] for page in pages if page.is_worker] == [32]
    assert [page.slots[layout.SAMPLES] for page in pages if not page.is_worker] == [32]
