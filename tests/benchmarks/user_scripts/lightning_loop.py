"""A Lightning training script, as a user would write it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import lightning
import torch
from faulty_data import arguments, images, network
from torch.utils.data import DataLoader


class Classifier(lightning.LightningModule):
    """A perceptron."""

    def __init__(self, layers: int, seconds: float) -> None:
        super().__init__()
        self.model = network(layers)
        self.seconds = seconds

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        """The loss of a batch."""
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self.model(x), y)
        time.sleep(self.seconds)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), 0.01)


def main() -> None:
    """Train until the time is over."""
    options = arguments()
    loader = DataLoader(
        images(options),
        batch_size=options.batch,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.persistent,
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1000,
        max_time=dt.timedelta(seconds=options.seconds),
        default_root_dir=options.out,
        enable_checkpointing=False,
        enable_progress_bar=False,
        logger=False,
    )
    trainer.fit(Classifier(options.layers, options.step), loader)


if __name__ == "__main__":
    main()
