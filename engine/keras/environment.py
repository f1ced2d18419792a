"""What TensorFlow reads from the environment when it is imported. Imports none of it."""

from __future__ import annotations

import os

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.hardware.machine import inspect_machine


def prepare(config: RunConfig) -> None:
    """Set it for a run; call this before `gputrain.engine.keras.library` is imported."""
    if config.device == "cpu" or not inspect_machine().gpus:
        # Without this it looks for CUDA, and complains.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if not config.speed.cudnn_benchmark:
        os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"
