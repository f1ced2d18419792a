"""Training loops on one batch in memory: the trainer, a bare loop, and the loops of torchvision's and timm's scripts.

The scripts' loops are reimplemented step by step; all train the same network with the same arithmetic and batch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from driven import driven
from harness import Contender, Pass
from torch import nn
from torchvision import models

from gputrain.engine.configuration import settings

CLASSES = 100


@dataclass(frozen=True, slots=True)
class Setting:
    """Input of every loop."""

    data: Path
    """An image folder with `CLASSES` classes, which ours looks at before it starts."""
    model: str
    batch_size: int
    size: int
    precision: str
    compile: bool
    device: str
    steps: int
    """Steps of a pass."""


@dataclass(slots=True)
class _Parts:
    network: nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]


def _parts(setting: Setting, memory_format: torch.memory_format) -> _Parts:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    network = models.get_model(setting.model, weights=None, num_classes=CLASSES)
    network = network.to(device=setting.device, memory_format=memory_format)
    images = torch.randn(setting.batch_size, 3, setting.size, setting.size, device=setting.device)
    labels = torch.randint(0, CLASSES, (setting.batch_size,), device=setting.device)
    dtype = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[setting.precision]

    def autocast() -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(setting.device, dtype=dtype) if dtype else contextlib.nullcontext()

    if setting.compile:
        network = torch.compile(network)
    return _Parts(network.train(), images.to(memory_format=memory_format), labels, autocast)


def _finish(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def bare(setting: Setting) -> Pass:
    """Only forward, backward and update, with all optimizations."""
    parts = _parts(setting, torch.channels_last)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    optimizer = torch.optim.SGD(
        parts.network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-5, fused=True
    )
    scaler = torch.amp.GradScaler(setting.device, enabled=setting.precision == "fp16")

    def one_pass() -> int:
        for _ in range(setting.steps):
            with parts.autocast():
                loss = nn.functional.cross_entropy(parts.network(parts.images), parts.labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        _finish(setting)
        return setting.steps * setting.batch_size

    return one_pass


def _torchvision(setting: Setting) -> Pass:
    parts = _parts(setting, torch.contiguous_format)
    optimizer = torch.optim.SGD(parts.network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(setting.device, enabled=setting.precision == "fp16")
    meters: dict[str, list[float]] = {"loss": [], "top1": [], "top5": [], "speed": []}

    def step() -> None:
        began = time.perf_counter()
        with parts.autocast():
            scores = parts.network(parts.images)
            loss = nn.functional.cross_entropy(scores, parts.labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        best = scores.topk(5, 1).indices == parts.labels[:, None]
        # Four figures are read off the device in each step; each waits for it.
        meters["top1"].append(best[:, :1].float().sum().item())
        meters["top5"].append(best.float().sum().item())
        meters["loss"].append(loss.item())
        meters["speed"].append(setting.batch_size / (time.perf_counter() - began))

    def one_pass() -> int:
        for _ in range(setting.steps):
            step()
        _finish(setting)
        return setting.steps * setting.batch_size

    return one_pass


def torchvision_loop(setting: Setting) -> Pass:
    """As torchvision's reference script trains for classification, with its AMP option."""
    return _torchvision(setting)


def standard(setting: Setting) -> Pass:
    """The same without any tuning: float32, no TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return _torchvision(Setting(**{**_fields(setting), "precision": "fp32", "compile": False}))


def _fields(setting: Setting) -> dict[str, Any]:
    return {name: getattr(setting, name) for name in Setting.__slots__}


def timm_loop(setting: Setting) -> Pass:
    """As timm's training script, with AMP and channels_last, its own optimizer factory and meters."""
    # No types come with it.
    optim: Any = import_module("timm.optim")
    utils: Any = import_module("timm.utils")
    parts = _parts(setting, torch.channels_last)
    optimizer = optim.create_optimizer_v2(parts.network, opt="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-5)
    scaler = utils.NativeScaler(device=setting.device) if setting.precision == "fp16" else None
    losses, times = utils.AverageMeter(), utils.AverageMeter()
    parameters = list(parts.network.parameters())

    def step() -> None:
        began = time.perf_counter()
        with parts.autocast():
            loss = nn.functional.cross_entropy(parts.network(parts.images), parts.labels)
        if scaler is not None:
            scaler(loss, optimizer, parameters=parameters)
        else:
            loss.backward()
            optimizer.step()
        losses.update(loss.item(), setting.batch_size)
        optimizer.zero_grad()
        times.update(time.perf_counter() - began)

    def one_pass() -> int:
        for _ in range(setting.steps):
            step()
        _finish(setting)
        return setting.steps * setting.batch_size

    return one_pass


def ours(setting: Setting) -> Pass:
    """The trainer itself, fed with a resident uint8 batch: normalised on the device, timed, reported, controlled."""
    config = settings.build(
        {
            "device": setting.device,
            "dataset": "imagefolder",
            "data_dir": str(setting.data),
            "val_split": "",
            "model": setting.model,
            "batch_size": setting.batch_size,
            "image_size": setting.size,
            "precision": setting.precision,
            "compile": setting.compile,
            "augment": "none",
            "num_workers": 0,
            "lr": 1e-3,
            "lr_batch_size": 0,
        }
    )
    return driven(config, setting.steps)


CONTENDERS = (
    Contender("bare", "bare loop", "same network, arithmetic and layout", bare),
    Contender("ours", "gputrain", "the trainer on a resident batch", ours),
    Contender(
        "torchvision", "torchvision's reference loop", "same arithmetic, its layout and meters", torchvision_loop
    ),
    Contender("timm", "timm's training loop", "same arithmetic and layout, its meters", timm_loop),
    Contender("standard", "no tuning", "float32, contiguous, no TF32, torchvision's loop", standard),
)
