"""Device and precision of a Keras run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gputrain.engine.common import peak_rss
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.hardware.machine import cpu_model, cpu_precision, inspect_machine, usable_cores
from gputrain.engine.keras.library import keras, tf

Precision = Literal["fp32", "fp16", "bf16"]
Notice = Callable[[str, str], None]
_POLICIES = {"fp32": "float32", "fp16": "mixed_float16", "bf16": "mixed_bfloat16"}
_GPU = "GPU:0"


@dataclass(frozen=True, slots=True)
class Compute:
    """Device and precision of a run."""

    device: str
    """``cpu`` or ``cuda:0``, as in torch."""
    name: str
    precision: Precision
    capability: tuple[int, int] | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether steps run asynchronously on a GPU."""
        return self.device != "cpu"


def set_up(config: RunConfig, notice: Notice) -> Compute:
    """Choose device and precision, and set TensorFlow's global options, before anything is allocated.

    Raises BadInput if ``device: cuda`` is not possible.
    """
    gpus = [] if config.device == "cpu" else tf.config.list_physical_devices("GPU")
    if gpus:
        compute = _gpu(config, gpus[0], notice)
    elif config.device == "cuda":
        raise BadInput(f"device: cuda cannot be used: {_why_no_gpu()}; device=cpu trains on the CPU")
    else:
        if config.device == "auto":
            notice("error" if inspect_machine().gpus else "warning", f"training on the CPU: {_why_no_gpu()}")
        compute = Compute("cpu", cpu_model(), cpu_precision(config.speed.precision, notice))
        threads = max(1, math.ceil(usable_cores(find_cgroup())))
        # Raises if this process has trained before; the value is set then.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
        if not config.speed.compile:
            # Bit-identical results of a resumed run. XLA lacks deterministic forms of some operations.
            tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(config.speed.tf32)
    # Resets the counters in variable names, which checkpoints contain.
    keras.utils.clear_session()
    keras.mixed_precision.set_dtype_policy(_POLICIES[compute.precision])
    keras.utils.set_random_seed(config.seed % (1 << 32))
    return compute


def _gpu(config: RunConfig, gpu: object, notice: Notice) -> Compute:
    try:
        tf.config.set_visible_devices([gpu], "GPU")
        # Without this TensorFlow allocates all GPU memory at once.
        tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        notice("warning", f"TensorFlow takes all GPU memory at once: {error}")
    details = tf.config.experimental.get_device_details(gpu)
    capability = details.get("compute_capability") or (0, 0)
    best: Precision = "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    precision: Precision = best if config.speed.precision == "auto" else config.speed.precision
    if precision == "bf16" and capability < (8, 0):
        precision = best
        notice("warning", f"bf16 needs compute capability 8.0, this GPU has {capability[0]}.{capability[1]}: {best}")
    return Compute("cuda:0", str(details.get("device_name", "GPU")), precision, capability)


def _why_no_gpu() -> str:
    machine = inspect_machine()
    if not machine.gpus:
        return machine.gpu_error or "no NVIDIA GPU"
    return f"TensorFlow {tf.__version__} finds no usable GPU; its CUDA libraries come with {engine_choice.INSTALL_CUDA}"


@dataclass(frozen=True, slots=True)
class Memory:
    """GPU memory of TensorFlow's tensors, in bytes."""

    current: int
    peak: int


def memory(compute: Compute) -> Memory | None:
    """GPU memory in use and its peak; None on the CPU."""
    if not compute.is_gpu:
        return None
    info = tf.config.experimental.get_memory_info(_GPU)
    return Memory(int(info["current"]), int(info["peak"]))


def reset_peak(compute: Compute) -> None:
    """Start a new peak measurement."""
    if compute.is_gpu:
        tf.config.experimental.reset_memory_stats(_GPU)
    else:
        peak_rss.reset()


def peak(compute: Compute) -> int | None:
    """Peak bytes since `reset_peak`: GPU memory, or RSS of this process on the CPU; None: unknown."""
    found = memory(compute)
    return found.peak if found is not None else peak_rss.peak()
