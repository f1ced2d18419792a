"""A training script with the Trainer of Hugging Face's transformers, as a user would write it."""

from __future__ import annotations

import time
from typing import Any

import torch
from faulty_data import Images, arguments, images, network
from torch.utils.data import Dataset
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments


class Rows(Dataset[Any]):
    """Samples as dictionaries."""

    def __init__(self, data: Images) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample."""
        x, y = self._data[index]
        return {"x": x, "labels": y}


class Classifier(PreTrainedModel):
    """A perceptron."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig, layers: int, seconds: float) -> None:
        super().__init__(config)
        self.model = network(layers)
        self.seconds = seconds
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        pass

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and scores of a batch."""
        scores = self.model(x)
        time.sleep(self.seconds)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


class Until(TrainerCallback):
    """Ends the training after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Called after each update."""
        control.should_training_stop = time.monotonic() > self._until
        return control


def main() -> None:
    """Train until the time is over."""
    options = arguments()
    data = Rows(images(options))
    how = TrainingArguments(
        output_dir=options.out,
        num_train_epochs=1000,
        per_device_train_batch_size=options.batch,
        dataloader_num_workers=options.workers,
        dataloader_persistent_workers=options.persistent,
        logging_steps=20,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model = Classifier(PretrainedConfig(), options.layers, options.step)
    Trainer(model, how, train_dataset=data, callbacks=[Until(options.seconds)]).train()


if __name__ == "__main__":
    main()
