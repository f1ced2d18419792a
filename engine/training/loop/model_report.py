"""The `ModelReady` event of a PyTorch run: parameters, device, precision, FLOPs."""

from __future__ import annotations

import os

import torch

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import ModelReady
from gputrain.engine.hardware.peak_flops import peak_flops
from gputrain.engine.shared_loop.lr_schedule import LRSchedule
from gputrain.engine.training.models import create_model
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.runtime.device import Compute


def model_ready(
    config: RunConfig, compute: Compute, stepper: TrainStep, schedule: LRSchedule, flops: float | None, start_step: int
) -> ModelReady:
    """The event. `flops`: FLOPs of one image. `start_step`: steps done before this start."""
    return ModelReady(
        model=config.model.model,
        parameters=create_model.parameter_count(stepper.network),
        device=str(compute.device),
        device_name=compute.name,
        precision=compute.precision,
        channels_last=config.speed.channels_last,
        compiled=stepper.compiled,
        optimizer=config.optim.optimizer,
        total_steps=schedule.total_steps,
        total_updates=schedule.total_updates,
        start_step=start_step,
        torch_version=str(torch.__version__),
        cuda_version=torch.version.cuda or "",
        trainer_pid=os.getpid(),
        flops_per_image=flops,
        capability=torch.cuda.get_device_capability(compute.device) if compute.is_gpu else None,
        image_size=config.data.image_size,
        ranks=config.devices,
        peak_flops=peak_flops(compute.name, compute.precision, tf32=config.speed.tf32),
    )
