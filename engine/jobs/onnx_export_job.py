"""ONNX export job: exports a trained network in a child process. No torch."""

from __future__ import annotations

import importlib.util

from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Tell, run_job

TRIED = 512
"""Most validation samples on which the file is tested."""
CALIBRATED = 256
"""Training samples for the calibration of int8 ranges (ONNX Runtime recommends some hundred)."""


class OnnxOrder(Struct, frozen=True, kw_only=True):
    """The child's input."""

    config: RunConfig
    """The run's, for the CPU; ``resume_from`` is the checkpoint."""
    file: str
    int8: bool = False


class OnnxForm(Struct, frozen=True, kw_only=True):
    """One form of the network, tested on the CPU."""

    name: str
    bytes: int | None
    """Size of the file; None for the checkpoint's own network."""
    samples_per_second: float | None
    metrics: dict[str, float]
    largest_difference: float | None
    """Largest difference of any output from the checkpoint's network; None for that network itself."""
    agrees: float | None
    """Share of samples with the same class as from the checkpoint's network; None without classes."""


class Exported(Struct, frozen=True, kw_only=True):
    """The child's result: the file, and a comparison with the checkpoint."""

    file: str
    samples: int
    metric: str
    forms: tuple[OnnxForm, ...]
    """The checkpoint's network, then the exported forms; the last one is the file."""


def export_onnx(order: OnnxOrder, tell: Tell) -> Exported:
    """Write the file in a child process.

    Raises BadInput where the packages are missing or checkpoint or data can't be used, RuntimeError where torch.onnx or
    the quantization fails.
    """
    engine_choice.require_torch_engine(order.config, "ONNX export")
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"ONNX export needs {', '.join(missing)}: pip install 'gputrain-tui[onnx]'")
    return run_job("gputrain.engine.training.inference.onnx_child", order, Exported, tell)
