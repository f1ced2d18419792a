"""The `ModelReady` event of a Keras run: parameters, device, precision."""

from __future__ import annotations

import os

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import ModelReady
from gputrain.engine.keras import networks
from gputrain.engine.keras.device import Compute
from gputrain.engine.keras.library import framework
from gputrain.engine.keras.train_step import TrainStep
from gputrain.engine.shared_loop.lr_schedule import LRSchedule


def model_ready(
    config: RunConfig, compute: Compute, stepper: TrainStep, schedule: LRSchedule, start_step: int
) -> ModelReady:
    """The event. `start_step`: steps done before this start. FLOPs are not counted."""
    return ModelReady(
        model=config.model.model,
        parameters=networks.parameter_count(stepper.network),
        device=compute.device,
        device_name=compute.name,
        precision=compute.precision,
        channels_last=True,
        compiled=stepper.compiled,
        optimizer=config.optim.optimizer,
        total_steps=schedule.total_steps,
        total_updates=schedule.total_updates,
        start_step=start_step,
        framework=framework(),
        trainer_pid=os.getpid(),
        capability=compute.capability,
        image_size=config.data.image_size,
    )


def compiling_key(config: RunConfig, compute: Compute) -> str:
    """Key of the trace or compilation before the first step, under which its duration is remembered."""
    how = "xla" if config.speed.compile else "graph"
    parts = (how, config.model.model, config.data.image_size, config.data.batch_size, compute.precision, compute.device)
    return " ".join(("keras", *map(str, parts)))
