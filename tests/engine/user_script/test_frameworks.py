"""What is learned of unedited scripts of the usual frameworks, with the real packages (extra ``frameworks``)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import pages_in, probed, run, script
from msgspec import Struct

from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage

pytestmark = pytest.mark.frameworks

DATA = """
import os
os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = torch.randn(96, 8), torch.randint(0, 3, (96,))
model = torch.nn.Linear(8, 3)
"""
PLAIN = """
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader, validation = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), DataLoader(TensorDataset(x, y), 32)
for epoch in range(2):
    for a, b in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
    with torch.no_grad():
        for a, b in validation:
            model(a)
"""
TIMM = """
import timm
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, NativeScaler, accuracy

network = timm.create_model("test_resnet", num_classes=3, pretrained=False)
optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3)
scheduler = CosineLRScheduler(optimizer, t_initial=2)
images = TensorDataset(torch.randn(24, 3, 32, 32), torch.randint(0, 3, (24,)))
loader, validation, meter = DataLoader(images, batch_size=4, shuffle=True), DataLoader(images, 8), AverageMeter()
for epoch in range(2):
    network.train()
    for a, b in loader:
        loss = torch.nn.functional.cross_entropy(network(a), b)
        meter.update(loss.item(), len(a))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheduler.step(epoch + 1)
    network.eval()
    with torch.no_grad():
        for a, b in validation:
            accuracy(network(a), b)
"""
LIGHTNING = """
import lightning

class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = model
    def training_step(self, batch, _index):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, _index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

trainer = lightning.Trainer(max_epochs=2, log_every_n_steps=1, accelerator="cpu", enable_checkpointing=False,
                            default_root_dir=os.path.dirname(__file__), logger=lightning.pytorch.loggers.CSVLogger(
                                os.path.dirname(__file__)))
trainer.fit(Module(), DataLoader(TensorDataset(x, y), batch_size=8), DataLoader(TensorDataset(x, y), batch_size=32))
"""
TRANSFORMERS = """
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

class Rows(Dataset):
    def __len__(self):
        return len(x)
    def __getitem__(self, index):
        return {"a": x[index], "labels": y[index]}

class Network(PreTrainedModel):
    config_class = PretrainedConfig
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(8, 3)
        self.post_init()
    def _init_weights(self, module):
        pass
    def forward(self, a, labels=None):
        scores = self.layer(a)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}

arguments = TrainingArguments(output_dir=os.path.dirname(__file__) + "/out", num_train_epochs=2, logging_steps=4,
                              per_device_train_batch_size=8, per_device_eval_batch_size=32, eval_strategy="epoch",
                              save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True)
Trainer(Network(PretrainedConfig()), arguments, train_dataset=Rows(), eval_dataset=Rows()).train()
"""
ACCELERATE = """
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader, validation = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), DataLoader(TensorDataset(x, y), 32)
model, optimizer, loader, validation = accelerator.prepare(model, optimizer, loader, validation)
for epoch in range(2):
    for a, b in loader:
        accelerator.backward(torch.nn.functional.cross_entropy(model(a), b))
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        for a, b in validation:
            model(a)
"""
STATEFUL = """
from torchdata.stateful_dataloader import StatefulDataLoader

optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = StatefulDataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
for epoch in range(2):
    for a, b in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
"""
WEBDATASET = """
import webdataset

folder = os.path.dirname(__file__)
with webdataset.TarWriter(folder + "/rows.tar") as tar:
    for index in range(96):
        tar.write({"__key__": f"{index:04}", "a.pth": x[index].clone(), "cls": int(y[index])})
rows = webdataset.WebDataset(folder + "/rows.tar", shardshuffle=False, empty_check=False)
rows = rows.decode().to_tuple("a.pth", "cls")
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for a, b in DataLoader(rows, batch_size=8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()
"""


class Case(Struct, frozen=True):
    """A script and what is seen of it."""

    package: str
    text: str
    updates: int = 24
    samples: int = 192
    validation: int = 6
    scalars: frozenset[str] = frozenset()
    """Some of the names that are logged."""


CASES = {
    "plain": Case("torch", PLAIN),
    "timm": Case("timm", TIMM, updates=12, samples=48, validation=6),
    # Lightning fetches two validation batches before the training, for a check.
    "lightning": Case("lightning", LIGHTNING, validation=8, scalars=frozenset({"train_loss", "val_loss"})),
    "transformers": Case("transformers", TRANSFORMERS, scalars=frozenset({"loss", "eval_loss"})),
    "accelerate": Case("accelerate", ACCELERATE),
    "stateful": Case("torchdata", STATEFUL, validation=0),
    "webdataset": Case("webdataset", WEBDATASET, validation=0),
}


def _train(case: Case, folder: Path) -> MappedPage:
    done = run([sys.executable, str(script(folder, DATA + case.text))], probed(folder / "pages"))
    assert done.returncode == 0, done.stderr[-2000:]
    return next(page for page in pages_in(folder / "pages").scan() if not page.is_worker)


@pytest.mark.parametrize("name", CASES)
def test_steps_samples_wait_and_scalars(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if importlib.util.find_spec(case.package) is None:
        pytest.skip(f"{case.package} is not installed")
    page = _train(case, tmp_path)
    slots = page.slots
    seen = tuple(int(slots[at]) for at in (layout.UPDATES, layout.SAMPLES, layout.VALIDATION_BATCHES))
    lines = list(page.lines())
    logged = {key for line in lines if line["kind"] == "scalars" for key in line["values"]}
    assert seen == (case.updates, case.samples, case.validation)
    assert slots[layout.DISABLED] == 0, lines
    assert slots[layout.LOADERS] > 0
    assert 0 < slots[layout.WAIT] <= slots[layout.STEP_SECONDS]
    assert case.scalars <= logged
