"""Runs a trainer of either engine without a supervisor: real JPEG files, a real queue, a real pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gputrain.engine import events
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import AnyEvent, RunEnded, Steps
from gputrain.engine.events.commands import AnyCommand, encode_command
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop.training_loop import TrainingLoop
from gputrain.engine.training.loop.trainer import Trainer
from gputrain.engine.training.readers import reader_registry
from gputrain.engine.training.readers.reader import OpenedDataset

CLASSES = ("across", "down", "spots")


def draw_images(root: Path, per_class: int = 12, side: int = 48) -> Path:
    """Three classes of textures in ``root/{train,val}``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", per_class), ("val", per_class // 2)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(0, 20, (side, side, 3))
                rows, columns = np.mgrid[0:side, 0:side] + rng.integers(0, 8)
                wave = {"across": rows % 8 < 4, "down": columns % 8 < 4, "spots": (rows % 8 < 4) & (columns % 8 < 4)}
                pixels = noise + 90 + 90 * wave[name][..., None]
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{number}.jpg", quality=92)
    return root


def small_config(images: Path, **changes: Any) -> RunConfig:
    """Settings of a run that takes seconds."""
    values: dict[str, Any] = {
        "device": "cpu",
        "dataset": "imagefolder",
        "data_dir": str(images),
        "image_size": 32,
        "val_resize": 36,
        "crop_min_scale": 0.5,
        "batch_size": 6,
        "num_workers": 2,
        "pin_memory": False,
        "width": 8,
        "epochs": 2,
        "lr": 0.05,
        "lr_batch_size": 0,
        "precision": "fp32",
    }
    return settings.build(values | changes)


@dataclass
class Result:
    """How a trainer ended, and its events."""

    ended: RunEnded
    events: list[AnyEvent] = field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def losses(self) -> list[tuple[int, float | None]]:
        """(step, loss) of every reported window."""
        return [(event.step, event.loss) for event in self.of(Steps)]


class _StopsAt(TrainerControl):
    """Requests a stop with a checkpoint once the trainer has done `stop_at` steps."""

    trainer: TrainingLoop
    stop_at: int | None = None

    def poll(self) -> None:
        super().poll()
        if self.stop_at is not None and self.trainer.step >= self.stop_at:
            self.stop, self.reason = "checkpoint", "stopped on request"


TrainerClass = Callable[[Path, RunConfig, EventReporter, TrainerControl], TrainingLoop]


def train(
    directory: Path,
    config: RunConfig,
    commands: tuple[AnyCommand, ...] = (),
    stop_at: int | None = None,
    trainer: TrainerClass = Trainer,
) -> Result:
    """Run a `trainer` to its end in this process, or until it has done step `stop_at`.

    `commands` are in its inbox from the start.
    """
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    reader, writer = context.Pipe(duplex=False)
    for command in commands:
        writer.send_bytes(encode_command(command))
    with collecting(outbox) as found:
        reporter = EventReporter(outbox)
        control = _StopsAt(reader, reporter)
        control.trainer = trainer(directory, config, reporter, control)
        control.stop_at = stop_at
        ended = control.trainer.train()
    writer.close()
    reader.close()
    return Result(ended, found)


def opened(config: RunConfig) -> tuple[OpenedDataset, list[AnyEvent]]:
    """The run's data set, and the events of opening it."""
    context = multiprocessing.get_context("spawn")
    outbox = context.Queue()
    child_end, parent_end = context.Pipe(duplex=False)
    with parent_end, child_end, collecting(outbox) as found:
        reporter = EventReporter(outbox)
        data = reader_registry.open_dataset(config, reporter, TrainerControl(child_end, reporter))
    return data, found


@contextlib.contextmanager
def collecting(outbox: Any) -> Iterator[list[AnyEvent]]:
    """Read the queue while the body runs; the list holds all events afterwards."""
    found: list[AnyEvent] = []
    done = threading.Event()

    def read() -> None:
        while True:
            try:
                event = events.decode(outbox.get(timeout=0.1))
            except queue.Empty:
                if done.is_set():
                    return
                continue
            assert event is not None
            found.append(event)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield found
    finally:
        done.set()
        reader.join()
        outbox.close()
        outbox.join_thread()
