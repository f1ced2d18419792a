"""Runs a Keras trainer without a supervisor, with real TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gputrain.engine.configuration.engine_choice import KERAS, why_missing
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import AnyCommand
from helpers.training import training_tools
from helpers.training.training_tools import Result, draw_images, small_config

__all__ = ["Result", "draw_images"]


needs_tensorflow = pytest.mark.skipif(
    bool(why_missing(KERAS)), reason="needs TensorFlow: an environment with pip install -e '.[dev-keras]'"
)


@pytest.fixture(autouse=True, scope="module")
def own_environment() -> Iterator[None]:
    """Restores the environment afterwards: torch reads CUDA_VISIBLE_DEVICES, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        patch.setenv("KERAS_BACKEND", "tensorflow")
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
        yield


def keras_config(images: Path, **changes: Any) -> RunConfig:
    """Settings of a Keras run that takes seconds."""
    return small_config(images, **{"engine": "keras", "momentum": 0.9} | changes)


def train(
    directory: Path, config: RunConfig, commands: tuple[AnyCommand, ...] = (), stop_at: int | None = None
) -> Result:
    """See `training_tools.train`."""
    from gputrain.engine.keras.trainer import KerasTrainer

    return training_tools.train(directory, config, commands, stop_at, KerasTrainer)


def state_of(directory: Path) -> dict[str, Any]:
    """Content of the newest checkpoint of a run."""
    from gputrain.engine.keras import checkpoint

    return checkpoint.load(str(directory), pytest.fail)


def same_arrays(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether network and optimizer of two states are bit-identical."""
    return all(
        first[group].keys() == second[group].keys()
        and all((first[group][name] == second[group][name]).all() for name in first[group])
        for group in ("model", "optimizer")
    )
