"""The life of a run: what it is, what it is busy with, what it says, and how it ended."""

from __future__ import annotations

import enum
from typing import Any, Literal

from msgspec import field

from gputrain.engine.events.envelope import Event
from gputrain.engine.events.speed_forecast import SpeedForecast


class Phase(enum.StrEnum):
    """What the run is busy with; one at a time."""

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
    """The supervisor took over the run directory."""

    run_id: str
    settings: dict[str, Any]
    """The resolved configuration, flat: setting name → value."""
    origins: dict[str, str] = field(default_factory=dict)
    """Where each setting's value came from, in the plan's words."""
    host: str = ""
    pid: int = 0
    """Process id of the supervisor."""
    boot_id: str = ""
    python: str = ""
    version: str = ""
    """Version of gputrain-tui."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that the run may use."""
    usable_cores: float = 0.0
    memory_limit: int = 0
    forecast: SpeedForecast | None = None
    """What the plan foretold from a calibration; None without one."""


class PhaseChanged(Event, frozen=True, tag="phase"):
    """The run began something else, or is so far through what may take over a second."""

    phase: Phase
    detail: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    eta_seconds: float | None = None


class DataReady(Event, frozen=True, tag="data_ready"):
    """The data set was read and counted."""

    dataset: str
    path: str
    train_images: int
    val_images: int
    classes: tuple[str, ...]
    """Class names; cut to the first 1,000."""
    class_count: int
    batches_per_epoch: int
    seconds: float


class ModelReady(Event, frozen=True, tag="model_ready"):
    """The model is on its device and the first step may begin.

    Sent again where a compilation fails later and the run goes on without it.
    """

    model: str
    parameters: int
    device: str
    """``cpu`` or ``cuda:0``."""
    device_name: str
    precision: Literal["fp32", "fp16", "bf16"]
    channels_last: bool
    compiled: bool
    optimizer: str
    total_steps: int
    total_updates: int
    start_step: int = 0
    """Steps that are done."""
    torch_version: str = ""
    """Empty where another engine trains."""
    framework: str = ""
    """The engine and its versions in words; empty in records of older versions."""
    cuda_version: str = ""
    trainer_pid: int = 0
    flops_per_image: float | None = None
    """Operations of one image's forward and backward pass; None: they cannot be counted."""
    peak_flops: float | None = None
    """What the device computes at best in this precision, operations a second; None: not known, or a CPU."""
    image_size: int | None = None
    """Side of the images that `flops_per_image` is for."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability, (8, 6); None on the CPU and in records of older versions."""
    ranks: int = 1
    """Processes that train it together, each on a device like this one."""


class Notice(Event, frozen=True, tag="notice"):
    """A sentence for the person: what was changed, refused, skipped or lost."""

    level: Literal["info", "warning", "error"]
    text: str
    source: Literal["supervisor", "trainer", "plan", "monitor"] = "trainer"


class LogLine(Event, frozen=True, tag="log"):
    """A line that the trainer printed, made harmless and cut to 2,000 characters."""

    text: str
    skipped: int = 0
    """Lines before this one that were left out because there were too many a second."""


class CommandTaken(Event, frozen=True, tag="command"):
    """A command reached the run."""

    command: str
    sender: str
    answer: str = ""


class RunEnded(Event, frozen=True, tag="run_ended"):
    """The last event of a run."""

    outcome: Outcome
    reason: str
    """One sentence: why it ended, and what to do if it should not have."""
    exit_code: int | None = None
    signal: int | None = None
    step: int = 0
    error: str = ""
    """The exception as ``Type: message``, for a failed run."""
    traceback: str = ""
    died_of: Literal["", "gpu", "ram"] = ""
    """The memory that there was too little of: the GPU's, or RAM; empty: it was something else."""
    own_code: int | None = None
    """Exit code of a script of the user's own, as a shell reports it; None: our trainer ran."""
    preempted: bool = False
    """Stopped because a batch system wants the machine: it is to be resumed."""
