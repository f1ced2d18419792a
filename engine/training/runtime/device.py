"""Chooses a run's device and precision, and sets torch's global switches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.hardware.machine import Machine, cpu_model, cpu_precision, inspect_machine, usable_cores
from gputrain.engine.hardware.torch_compatibility import machine_problem
from gputrain.engine.planning.fallbacks import why_no_gpu

Precision = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class Compute:
    """Device and precision of a run."""

    device: torch.device
    name: str
    precision: Precision

    @property
    def is_gpu(self) -> bool:
        """CUDA streams, events and pinned memory exist."""
        return self.device.type == "cuda"

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """Type of the autocast region; None: no autocast."""
        return {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]

    def autocast(self) -> torch.autocast:
        """The context of forward passes."""
        dtype = self.autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def for_validation(compute: Compute, config: RunConfig) -> Compute:
    """`compute` with the precision of validation."""
    return dataclasses.replace(compute, precision="fp32") if config.speed.val_precision == "fp32" else compute


def set_up(
    config: RunConfig, notice: Callable[[str, str], None], rank: int | None = None, local_count: int = 1
) -> Compute:
    """Choose device and precision and set torch's global switches; `rank` uses the GPU of its number.

    `rank`: on this machine, which has `local_count` of them. Without a rank (predictions, measurements) the process
    counts as the only one, whatever `config.devices` is.

    Raises BadInput if ``device: cuda`` is impossible, or there are fewer GPUs than ranks.
    """
    if config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available()):
        compute = _gpu(config, notice, rank if config.devices > 1 else None, local_count)
    else:
        if config.device == "auto":
            machine = inspect_machine()
            # On a machine with a GPU this is hardly intended: an error.
            notice("error" if machine.gpus else "warning", f"training on the CPU: {_why_no_gpu(machine)}")
        compute = Compute(torch.device("cpu"), cpu_model(), cpu_precision(config.speed.precision, notice))
        # Workers decode beside the step, and the scheduler shares the cores between them. Fewer threads for the step
        # left cores idle whenever the queue was full.
        sharing = 1 if rank is None else local_count
        torch.set_num_threads(max(1, math.ceil(usable_cores(find_cgroup()) / sharing)))
    torch.backends.cudnn.benchmark = config.speed.cudnn_benchmark
    torch.backends.cuda.matmul.allow_tf32 = config.speed.tf32
    torch.backends.cudnn.allow_tf32 = config.speed.tf32
    return compute


def _gpu(config: RunConfig, notice: Callable[[str, str], None], rank: int | None, local_count: int) -> Compute:
    if not torch.cuda.is_available():
        raise BadInput(f"device: cuda cannot be used: {_why_no_gpu(inspect_machine())}; device=cpu trains on the CPU")
    if rank is not None:
        there = torch.cuda.device_count()
        if local_count > there:
            raise BadInput(f"devices: {local_count} need a GPU each, and {there} can be used here; devices={there}")
        torch.cuda.set_device(rank)
    device = torch.device("cuda", torch.cuda.current_device())
    capability = torch.cuda.get_device_capability(device)
    precision: Precision
    if config.speed.precision == "auto":
        precision = "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    else:
        precision = config.speed.precision
    if precision == "bf16" and capability < (8, 0):
        precision = "fp16" if capability >= (7, 0) else "fp32"
        notice(
            "warning", f"bf16 needs compute capability 8.0, this GPU has {capability[0]}.{capability[1]}: {precision}"
        )
    return Compute(device, torch.cuda.get_device_name(device), precision)


def _why_no_gpu(machine: Machine) -> str:
    if not machine.gpus or machine_problem(machine) is not None:
        return why_no_gpu(machine)
    return f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no usable GPU; the driver may be too old"
