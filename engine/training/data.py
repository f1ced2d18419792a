"""The data of a run: drawn if they are the built-in ones, read as their layout asks, and told to the dashboards."""

from __future__ import annotations

import time

from gputrain.engine.config import RunConfig
from gputrain.engine.training import dataready
from gputrain.engine.training.control import Control
from gputrain.engine.training.readers import biwi, cifar10, class_folders, clips, custom, lp300w
from gputrain.engine.training.readers.reader import Data, Reader
from gputrain.engine.training.reporter import Reporter

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
    config = dataready.located(config, reporter, control)
    read = _READERS[config.data.dataset]
    data = dataready.scanned(config, reporter, control, lambda found: read(config, found))
    data.task.check(config)
    for note in data.notes:
        reporter.notice("info", note)
    if config.data.cache != "none":
        if data.train.pixels is not None:
            reporter.notice("info", f"cache={config.data.cache}: not needed, all images are in memory")
        elif data.train.own is not None:
            reporter.notice("warning", f"cache={config.data.cache}: not used for a data set of one's own")
    dataready.tell(config, reporter, data.train, data.val, time.perf_counter() - began)
    return data
