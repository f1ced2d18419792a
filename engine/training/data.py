"""The images of a run: drawn if they are the built-in ones, found on disk, and told to the dashboards."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gputrain.engine.config import RunConfig
from gputrain.engine.events import DataReady, Phase
from gputrain.engine.text import plain
from gputrain.engine.training import demo, images, order
from gputrain.engine.training.control import Control, StopRequested
from gputrain.engine.training.images import ImageSet
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.task import Task

_CLASSES_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Data:
    """Training and validation images of one data set, and what is learned from them."""

    train: ImageSet
    val: ImageSet | None
    task: Task


def prepare(config: RunConfig, reporter: Reporter, control: Control) -> Data:
    """Draw or find the images. Raises BadInput naming what is wrong with the folder, StopRequested if asked to stop."""
    began = time.perf_counter()
    folder = config.data.data_dir
    if config.data.dataset == "demo" and not folder:
        folder = _draw(reporter, control)
    reporter.phase(Phase.SCANNING_DATA, plain(folder, 200))

    def found(count: int) -> None:
        reporter.progress(count, None, "images")
        control.raise_if_stopped()

    train = images.scan(folder, config.data.train_split, progress=found)
    val = None
    if config.data.val_split:
        val = images.scan(folder, config.data.val_split, setting="val_split", classes=train.classes, progress=found)
    _tell(config, reporter, folder, train, val, time.perf_counter() - began)
    task = Classification(len(train.classes), config.optim.label_smoothing)
    task.check(config)
    return Data(train, val, task)


def _draw(reporter: Reporter, control: Control) -> str:
    reporter.phase(Phase.DRAWING_DATA)

    def stop() -> bool:
        control.poll()
        return bool(control.stop)

    try:
        return str(demo.ensure_demo(lambda done, total: reporter.progress(done, total, "images"), stop))
    except demo.DemoStopped:
        raise StopRequested(control.reason) from None


def _tell(
    config: RunConfig, reporter: Reporter, folder: str, train: ImageSet, val: ImageSet | None, seconds: float
) -> None:
    batch_size = min(config.data.batch_size, len(train))
    reporter.send(
        DataReady(
            dataset=config.data.dataset,
            path=plain(folder, 1000),
            train_images=len(train),
            val_images=len(val) if val is not None else 0,
            classes=tuple(plain(name, 100) for name in train.classes[:_CLASSES_TOLD]),
            class_count=len(train.classes),
            batches_per_epoch=order.batch_count(len(train), batch_size, drop_last=True),
            seconds=seconds,
        )
    )
