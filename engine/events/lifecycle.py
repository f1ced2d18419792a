"""Lifecycle events of a run: start, phases, data and model, notices, log lines, commands, end."""

from __future__ import annotations

import enum
from typing import Any, Literal

from msgspec import field

from gputrain.engine.events.envelope import Event
from gputrain.engine.events.speed_forecast import SpeedForecast


class Phase(enum.StrEnum):
    """The current phase of a run."""

    STARTING = "starting"
    IMPORTING = "importing torch"
    IMPORTING_TENSORFLOW = "importing TensorFlow"
    DRAWING_DATA = "drawing the demo images"
    SCANNING_DATA = "scanning the data"
    BUILDING = "building the model"
    COMPILING = "compiling"
    WARMING_UP = "filling the queue"
    TRAINING = "training"
    VALIDATING = "validating"
    SAVING = "saving a checkpoint"
    PAUSED = "paused"
    STOPPING = "stopping"
    ENDED = "ended"


class Outcome(enum.StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    KILLED = "killed"


class RunStarted(Event, frozen=True, tag="run_started"):
    """The supervisor started or resumed the run."""

    run_id: str
    """Name of the run directory."""
    settings: dict[str, Any]
    """The resolved configuration, flat: setting name → value."""
    origins: dict[str, str] = field(default_factory=dict)
    """The origin of each setting's value, as in the plan."""
    host: str = ""
    """Host name."""
    pid: int = 0
    """Process id of the supervisor."""
    boot_id: str = ""
    """The kernel's id of this boot; monotonic times of different boots cannot be compared."""
    python: str = ""
    """Version of Python."""
    version: str = ""
    """Version of gputrain-tui."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that the run can use."""
    usable_cores: float = 0.0
    """Cores that the run may use: affinity and cgroup quota."""
    memory_limit: int = 0
    """Bytes of RAM that the run may use."""
    forecast: SpeedForecast | None = None
    """The plan's forecast from a calibration; None without one."""


class PhaseChanged(Event, frozen=True, tag="phase"):
    """A phase began, or the progress within it (for phases of more than a second)."""

    phase: Phase
    """The present phase."""
    detail: str = ""
    """What exactly, for example a path or a model."""
    done: float | None = None
    """Progress in `unit`; None: unknown."""
    total: float | None = None
    """Total in `unit`; None: unknown."""
    unit: str = ""
    """Unit of `done` and `total`."""
    eta_seconds: float | None = None
    """Time left; None: unknown."""


class DataReady(Event, frozen=True, tag="data_ready"):
    """The data set was scanned."""

    dataset: str
    """Value of the setting `dataset`."""
    path: str
    """Folder of the data."""
    train_images: int
    """Number of training samples."""
    val_images: int
    """Number of validation samples."""
    classes: tuple[str, ...]
    """Class names; cut to the first 1,000."""
    class_count: int
    """Number of classes."""
    batches_per_epoch: int
    """Training batches in one epoch."""
    seconds: float
    """Duration of the scan."""
    skipped: tuple[tuple[str, int], ...] = ()
    """Files and folders that are no images, by kind, with their numbers."""


class ModelReady(Event, frozen=True, tag="model_ready"):
    """The model is on its device and the first step can begin.

    Sent again if compilation fails later and the run continues without it.
    """

    model: str
    """Value of the setting `model`."""
    parameters: int
    """Number of parameters."""
    device: str
    """``cpu`` or ``cuda:0``."""
    device_name: str
    """Product name of the GPU or CPU."""
    precision: Literal["fp32", "fp16", "bf16"]
    """Precision in use."""
    channels_last: bool
    """NHWC memory format is on."""
    compiled: bool
    """The model is compiled."""
    optimizer: str
    """Value of the setting `optimizer`."""
    total_steps: int
    """Steps of the whole run."""
    total_updates: int
    """Optimizer updates of the whole run."""
    start_step: int = 0
    """Steps done before; not 0 in a resumed run."""
    torch_version: str = ""
    """Empty with another engine."""
    framework: str = ""
    """The engine with its versions; empty in records of older versions."""
    cuda_version: str = ""
    """CUDA version of torch; empty on the CPU."""
    trainer_pid: int = 0
    """Process id of the trainer."""
    flops_per_image: float | None = None
    """FLOPs of the forward and backward pass of one image; None: cannot be counted."""
    peak_flops: float | None = None
    """Peak FLOP/s of the device in this precision; None: unknown, or a CPU."""
    image_size: int | None = None
    """Image side in pixels for `flops_per_image`."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability, for example (8, 6); None on the CPU and in records of older versions."""
    ranks: int = 1
    """Number of ranks, each with one device like this one."""
    host: str = ""
    """Machine of rank 0; empty: that of the record."""


class Notice(Event, frozen=True, tag="notice"):
    """A message for the user: what was changed, refused, skipped or lost."""

    level: Literal["info", "warning", "error"]
    """How serious it is."""
    text: str
    """The sentence."""
    source: Literal["supervisor", "trainer", "plan", "monitor"] = "trainer"
    """Which process wrote it."""


class LogLine(Event, frozen=True, tag="log"):
    """A line of the trainer's output, sanitized and cut to 2,000 characters."""

    text: str
    """The line."""
    skipped: int = 0
    """Number of lines left out before this one because there were too many per second."""


class CommandTaken(Event, frozen=True, tag="command"):
    """The supervisor received a command."""

    command: str
    """Name of the command."""
    sender: str
    """Who sent it: user, host and terminal, or a signal."""
    answer: str = ""
    """What the supervisor did with it."""


class RunEnded(Event, frozen=True, tag="run_ended"):
    """The last event of a run."""

    outcome: Outcome
    """How it ended."""
    reason: str
    """One sentence: why it ended, and the remedy."""
    exit_code: int | None = None
    """Exit code of the trainer; negative: ended by that signal. None: it reported the end itself."""
    signal: int | None = None
    """Number of the signal that ended the trainer; None without one."""
    step: int = 0
    """Steps done."""
    error: str = ""
    """The exception of a failed run as ``Type: message``."""
    traceback: str = ""
    """The full traceback of a failed run."""
    died_of: Literal["", "gpu", "ram"] = ""
    """The memory that ran out: ``gpu`` or ``ram``; empty: another cause."""
    own_code: int | None = None
    """Exit code of a script of the user's own, as a shell reports it; None: our trainer ran."""
    preempted: bool = False
    """Stopped by a batch system: the run should be resumed."""
