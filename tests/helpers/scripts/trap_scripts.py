"""Small scripts that a naive hook would count wrongly, change or break, and what must be seen of them."""

from __future__ import annotations

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
# Usual steps by the dozen, and between them whatever else a loop may do, by a clock of the script's own.
ANY_ORDER = """
import random
draw, now = random.Random(7), [1000.0]
steps = sys.modules["_gputrain_probe.steps"]
for name in ("steps", "loader_hooks", "optimizer_hooks"):
    sys.modules["_gputrain_probe." + name].clock = lambda: now[0]
at_once, end_usual = [], steps.Steps.end_usual
steps.Steps.end_usual = lambda *words: (at_once.append(1), end_usual(*words))
if SINGLY:
    updated = steps.Steps.updated
    def as_any_other(self, *words):
        updated(self, *words)
        self.stage = steps.ODD
    steps.Steps.updated = as_any_other
second = torch.optim.SGD(model.parameters(), 0.1)
class Slow(Dataset):
    def __len__(self):
        return 96
    def __getitem__(self, index):
        now[0] += 1 / (1000 + index)
        return x[index]
batches = {"training": iter(()), "other": iter(())}
def fetch(which="training"):
    now[0] += draw.random() / 100
    try:
        next(batches[which])
    except StopIteration:
        batches[which] = iter(DataLoader(Slow(), batch_size=1 if which == "training" else 8))
def backward():
    now[0] += draw.random() / 100
    model.weight.sum().backward()
def step():
    now[0] += draw.random() / 100
    optimizer.step()
def usual():
    for _ in range(draw.randrange(12)):
        fetch(), backward(), step()
validate = torch.no_grad()(lambda: fetch(draw.choice(list(batches))))
for _ in range(200):
    usual()
    for _ in range(draw.randrange(3)):
        draw.choice([fetch, lambda: fetch("other"), backward, step, second.step, validate])()
fetch(), validate()
assert (len(at_once) > 300) is not SINGLY, len(at_once)
"""
SCRIPTS = {
    "any_order": ANY_ORDER.replace("SINGLY", "False"),
    "any_order_singly": ANY_ORDER.replace("SINGLY", "True"),
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
seconds = page.slots[sys.modules["_gputrain_probe.layout"].STEP_SECONDS]
assert 0 < seconds <= time.monotonic() - begun - validated + 0.05, "validation counts as step time"
""",
}
EXPECTED = {
    # updates, samples, validation batches
    "any_order": (1023, 1277, 35),
    "any_order_singly": (1023, 1277, 35),
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
