"""Environment variables that TensorFlow reads at import. Does not import TensorFlow."""

from __future__ import annotations

import os

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.machine import inspect_machine


def prepare(config: RunConfig) -> None:
    """Set them for a run; call this before `gputrain.engine.keras.library` is imported."""
    if config.device == "cpu" or not inspect_machine().gpus:
        # Without this TensorFlow searches for CUDA and logs errors.
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if not config.speed.cudnn_benchmark:
        os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"
