"""Reader of class folders, as torchvision's ImageFolder."""

from __future__ import annotations

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import image_set
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.classification import Classification


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`: ``data_dir/<split>/<class>/…``."""
    train, val = image_set.scan_splits(config.data, on_found)
    return OpenedDataset(train, val, Classification(len(train.classes), config.optim.label_smoothing))
