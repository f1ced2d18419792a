"""Training loops of one rank among several, on one batch in memory: ours, bare DDP, Lightning, Accelerate.

All turn the same uint8 batch into normalised floats in each step, and train the same network with the same optimizer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from driven import Gate, driven
from harness import Pass
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchvision import models

from gputrain.engine.configuration import settings
from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint
from gputrain.engine.training.distributed.process_group import ProcessGroup

CLASSES = 100
LR = 1e-3


@dataclass(frozen=True, slots=True)
class Setting:
    """Input of every loop."""

    data: Path
    """An image folder with `CLASSES` classes, which ours looks at before it starts."""
    model: str
    batch_size: int
    size: int
    steps: int
    """Steps of a turn."""
    cores: int
    """Of each rank."""


@dataclass(frozen=True, slots=True)
class Place:
    """This process among the ranks of its loop."""

    rank: int
    count: int
    port: int

    def set_environment(self) -> None:
        """The variables that a launcher sets."""
        own: dict[str, object] = {
            "RANK": self.rank,
            "WORLD_SIZE": self.count,
            "LOCAL_RANK": self.rank,
            "LOCAL_WORLD_SIZE": self.count,
        }
        own |= {"MASTER_PORT": self.port, "MASTER_ADDR": LOOPBACK, "GLOO_SOCKET_IFNAME": "lo"}
        os.environ.update({name: str(value) for name, value in own.items()})


@dataclass(slots=True)
class _Parts:
    network: nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def batch(self) -> torch.Tensor:
        """The images as the network takes them."""
        return self.images.float().sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)

    def optimizer(self) -> torch.optim.Optimizer:
        """As ours: without decay of norms and biases, fused."""
        groups = [
            {"params": [p for p in self.network.parameters() if p.ndim > 1], "weight_decay": 5e-5},
            {"params": [p for p in self.network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=LR, momentum=0.9, nesterov=True, fused=True)


def _parts(setting: Setting) -> _Parts:
    torch.manual_seed(0)
    network = models.get_model(setting.model, weights=None, num_classes=CLASSES).to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (setting.batch_size, 3, setting.size, setting.size), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (setting.batch_size,))
    mean, std = torch.full((3, 1, 1), 127.5), torch.full((3, 1, 1), 58.0)
    return _Parts(network.train(), images, labels, mean, std)


def ours(setting: Setting, place: Place) -> Pass:
    """The trainer itself, fed with a resident batch: normalised, timed, reported, controlled."""
    config = settings.build(
        {
            "device": "cpu",
            "dataset": "imagefolder",
            "data_dir": str(setting.data),
            "val_split": "",
            "model": setting.model,
            "batch_size": setting.batch_size,
            "image_size": setting.size,
            "precision": "fp32",
            "augment": "none",
            "num_workers": 0,
            "lr": LR,
            "lr_batch_size": 0,
            "devices": place.count,
        }
    )
    ranks = None
    if place.count > 1:
        ranks = ProcessGroup(MeetingPoint(LOOPBACK, place.port), place.rank, place.count)
    return driven(config, setting.steps, ranks=ranks)


def bare(setting: Setting, place: Place) -> Pass:
    """DistributedDataParallel with bucket views, and nothing else."""
    torch.distributed.init_process_group("gloo")
    parts = _parts(setting)
    parallel, optimizer = DistributedDataParallel(parts.network, gradient_as_bucket_view=True), parts.optimizer()

    def one_pass() -> int:
        for _ in range(setting.steps):
            nn.functional.cross_entropy(parallel(parts.batch()), parts.labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return setting.steps * setting.batch_size

    return one_pass


def accelerate(setting: Setting, place: Place) -> Pass:
    """Accelerate, as its documentation changes a bare loop."""
    from accelerate import Accelerator  # type: ignore[import-not-found, unused-ignore]
    from accelerate.utils import (  # type: ignore[import-not-found, unused-ignore]
        DistributedDataParallelKwargs,
    )

    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)])
    if accelerator.num_processes != place.count:
        raise RuntimeError(f"Accelerate uses {accelerator.num_processes} of {place.count} processes")
    parts = _parts(setting)
    network, optimizer = accelerator.prepare(parts.network, parts.optimizer())

    def one_pass() -> int:
        for _ in range(setting.steps):
            accelerator.backward(nn.functional.cross_entropy(network(parts.batch()), parts.labels))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return setting.steps * setting.batch_size

    return one_pass


def lightning(setting: Setting, place: Place) -> Pass:
    """Lightning's Trainer with its DDP strategy, without logger, bar and checkpoints."""
    import lightning as pl  # type: ignore[import-not-found, unused-ignore]
    from lightning.pytorch.plugins.environments import (  # type: ignore[import-not-found, unused-ignore]
        TorchElasticEnvironment,
    )
    from lightning.pytorch.strategies import DDPStrategy  # type: ignore[import-not-found, unused-ignore]

    parts, gate = _parts(setting), Gate(lambda: None)

    class Module(pl.LightningModule):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.network = parts.network

        def training_step(self, images: torch.Tensor, number: int) -> torch.Tensor:
            loss = nn.functional.cross_entropy(self.network(parts.batch()), parts.labels)
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return parts.optimizer()

    class Batches(torch.utils.data.IterableDataset[torch.Tensor]):
        def __iter__(self) -> Iterator[torch.Tensor]:
            while True:
                yield torch.zeros(1)

    class Turns(pl.Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, number: int) -> None:
            if number % setting.steps == 0:
                gate.wait()

    trainer = pl.Trainer(
        accelerator="cpu",
        devices=place.count,
        strategy=DDPStrategy(process_group_backend="gloo", gradient_as_bucket_view=True),
        plugins=[TorchElasticEnvironment()],
        callbacks=[Turns()],
        max_steps=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    def fit() -> None:
        try:
            trainer.fit(Module(), torch.utils.data.DataLoader(Batches(), batch_size=None))
            gate.fail("it ended")
        except BaseException as error:  # noqa: BLE001 - reported to the waiting thread
            gate.fail(error)

    threading.Thread(target=fit, daemon=True).start()
    gate.start()

    def one_pass() -> int:
        gate.turn()
        return setting.steps * setting.batch_size

    return one_pass


@dataclass(frozen=True, slots=True)
class Loop:
    """One of the compared loops."""

    key: str
    how: str
    ranks: int
    """Processes; 0: as many as asked for."""
    make: Callable[[Setting, Place], Pass]


LOOPS = (
    Loop("ours", "the trainer on a resident batch", 0, ours),
    Loop("ddp", "bare DistributedDataParallel", 0, bare),
    Loop("lightning", "Lightning's Trainer, DDP strategy", 0, lightning),
    Loop("accelerate", "Accelerate", 0, accelerate),
    Loop("ours_alone", "the trainer as the only process", 1, ours),
)
