"""The data of a run: drawn if they are the built-in ones, read as their layout asks, and told to the dashboards."""

from __future__ import annotations

import time

import msgspec

from gputrain.engine import durations
from gputrain.engine.config import RunConfig
from gputrain.engine.events import DataReady, Phase
from gputrain.engine.text import plain
from gputrain.engine.training import demo, order
from gputrain.engine.training.control import Control, StopRequested
from gputrain.engine.training.readers import biwi, cifar10, class_folders, clips, custom, lp300w
from gputrain.engine.training.readers.reader import Data, Reader
from gputrain.engine.training.reporter import Reporter

_CLASSES_TOLD = 1000
_READERS: dict[str, Reader] = {
    "demo": class_folders.read,
    "imagefolder": class_folders.read,
    "cifar10": cifar10.read,
    "300wlp": lp300w.read,
    "biwi": biwi.read,
    "clips": clips.read,
    "custom": custom.read,
}


def prepare(config: RunConfig, reporter: Reporter, control: Control) -> Data:
    """Draw or find the images. Raises BadInput naming what is wrong with the folder, StopRequested if asked to stop."""
    began = time.perf_counter()
    if config.data.dataset == "demo" and not config.data.data_dir:
        place = msgspec.structs.replace(config.data, data_dir=_draw(reporter, control))
        config = msgspec.structs.replace(config, data=place)
    reporter.phase(Phase.SCANNING_DATA, plain(config.data.data_dir, 200))

    data = _scan(config, reporter, control)
    data.task.check(config)
    for note in data.notes:
        reporter.notice("info", note)
    if config.data.cache != "none":
        if data.train.pixels is not None:
            reporter.notice("info", f"cache={config.data.cache}: not needed, all images are in memory")
        elif data.train.own is not None:
            reporter.notice("warning", f"cache={config.data.cache}: not used for a data set of one's own")
    _tell(config, reporter, data, time.perf_counter() - began)
    return data


def _scan(config: RunConfig, reporter: Reporter, control: Control) -> Data:
    key = f"scan {config.data.dataset} {config.data.data_dir}"
    before = durations.recall(key)
    began, latest = time.perf_counter(), 0

    def found(count: int) -> None:
        nonlocal latest
        latest = count
        # As many as the last time, unless there are more by now.
        total = before.count if before is not None and before.count and count <= before.count else None
        reporter.progress(count, total, "images")
        control.raise_if_stopped()

    data = _READERS[config.data.dataset](config, found)
    durations.remember(key, time.perf_counter() - began, latest)
    return data


def _draw(reporter: Reporter, control: Control) -> str:
    reporter.phase(Phase.DRAWING_DATA)

    def stop() -> bool:
        control.poll()
        return bool(control.stop)

    try:
        return str(demo.ensure_demo(lambda done, total: reporter.progress(done, total, "images"), stop))
    except demo.DemoStopped:
        raise StopRequested(control.reason) from None


def _tell(config: RunConfig, reporter: Reporter, data: Data, seconds: float) -> None:
    train, val = data.train, data.val
    samples = len(train) // train.group
    batch_size = min(config.data.batch_size, samples)
    reporter.send(
        DataReady(
            dataset=config.data.dataset,
            path=plain(config.data.data_dir, 1000),
            train_images=len(train),
            val_images=len(val) if val is not None else 0,
            classes=tuple(plain(name, 100) for name in train.classes[:_CLASSES_TOLD]),
            class_count=len(train.classes),
            batches_per_epoch=order.batch_count(samples, batch_size, drop_last=True),
            seconds=seconds,
        )
    )
