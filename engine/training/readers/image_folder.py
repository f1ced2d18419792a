"""Reader of class folders, as torchvision's ImageFolder."""

from __future__ import annotations

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets import image_set
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.classification import Classification


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`: ``data_dir/<split>/<class>/…``."""
    data = config.data
    train = image_set.scan(data.data_dir, data.train_split, progress=on_found)
    val = None
    if data.val_split:
        val = image_set.scan(
            data.data_dir, data.val_split, setting="val_split", classes=train.classes, progress=on_found
        )
    return OpenedDataset(train, val, Classification(len(train.classes), config.optim.label_smoothing))
