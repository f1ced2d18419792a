"""A trained network as an ONNX file: what the process that writes it is asked for, and what it tells. No torch."""

from __future__ import annotations

import importlib.util

from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Tell, run_job

TRIED = 512
"""Validation samples that the file is tried on; 0 of them where the run has none."""
CALIBRATED = 256
"""Training samples whose activations give the ranges of 8-bit numbers (ONNX Runtime's advice is some hundred)."""


class OnnxOrder(Struct, frozen=True, kw_only=True):
    """What the child is asked for."""

    config: RunConfig
    """The run's, for the CPU; ``resume_from`` is the checkpoint."""
    file: str
    int8: bool = False


class OnnxForm(Struct, frozen=True, kw_only=True):
    """One form of the network, tried on the CPU."""

    name: str
    bytes: int | None
    """Of the file; None for the checkpoint's own network."""
    samples_per_second: float | None
    metrics: dict[str, float]
    largest_difference: float | None
    """Of any output to that of the checkpoint's network; None for that itself."""
    agrees: float | None
    """Share of samples that get the same class as from the checkpoint's network; None where there are no classes."""


class Exported(Struct, frozen=True, kw_only=True):
    """What the child wrote, and how it compares."""

    file: str
    samples: int
    metric: str
    forms: tuple[OnnxForm, ...]
    """The checkpoint's network, then what was made of it; the last one is the file."""


def export_onnx(order: OnnxOrder, tell: Tell) -> Exported:
    """Write the file, in a process of its own.

    Raises BadInput where the packages are missing or checkpoint or data can't be used, RuntimeError where torch.onnx or
    the quantization fails.
    """
    engine_choice.require_torch_engine(order.config, "ONNX export")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"writing ONNX needs {', '.join(missing)}: pip install 'gputrain-tui[onnx]'")
    return run_job("gputrain.engine.training.inference.onnx_child", order, Exported, tell)
