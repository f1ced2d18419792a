"""Everything that crosses a process border: the events of a run, and the commands to it.

One event is one line of ``events.jsonl``: a JSON object that names its own type, with a sequence
number, the format's version, wall-clock and monotonic time. All durations are in seconds, sizes in
bytes, rates per second and shares in 0…1 unless a name says percent. Figures that could not be
measured are None, never 0.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gputrain.engine.foretold import Forecast
from gputrain.engine.text import plain

FORMAT_VERSION = 1
_MAX_TRACEBACK = 100_000
_LARGEST = 1e100
_SUSPICIOUS = re.compile(rb"\\|\x7f|\d[eE]\+?\d\d\d|\d{80}")
"""What a line has that holds an escape, a control character or a number beyond `_LARGEST`."""


class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What all events have. The supervisor, the only writer, stamps these four fields."""

    seq: int = 0
    """Number of the event in its run, from 1, without gaps."""
    v: int = 0
    """`FORMAT_VERSION` of the writer; 0 on an event that was not recorded yet."""
    wall: float = 0.0
    """Seconds since 1970 by the wall clock, which may jump."""
    mono: float = 0.0
    """Seconds by the monotonic clock of the host's boot; for durations."""


class Phase(enum.StrEnum):
    """What the run is busy with; one at a time."""

    STARTING = "starting"
    IMPORTING = "importing torch"
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
    origins: dict[str, str] = {}
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
    forecast: Forecast | None = None
    """What the plan foretold from a calibration; None without one."""


class PhaseChanged(Event, frozen=True, tag="phase"):
    """The run began something else, or is so far through what may take over a second."""

    phase: Phase
    detail: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    eta_seconds: float | None = None


class Notice(Event, frozen=True, tag="notice"):
    """A sentence for the person: what was changed, refused, skipped or lost."""

    level: Literal["info", "warning", "error"]
    text: str
    source: Literal["supervisor", "trainer", "plan", "monitor"] = "trainer"


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
    """The model is on its device and the first step may begin."""

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
    torch_version: str = ""
    cuda_version: str = ""
    trainer_pid: int = 0
    flops_per_image: float | None = None
    """Operations of one image's forward and backward pass; None: they cannot be counted."""
    peak_flops: float | None = None
    """What the device computes at best in this precision, operations a second; None: not known, or a CPU."""
    image_size: int | None = None
    """Side of the images that `flops_per_image` is for."""


class Steps(Event, frozen=True, tag="steps"):
    """A window of training steps (at most ten windows a second). One step is one batch on the device."""

    step: int
    """Steps done since the run's very start, resumed parts included."""
    epoch: int
    """From 0."""
    epoch_step: int
    """Steps done in this epoch."""
    images: int
    """Images trained on since the run's very start."""
    window_steps: int
    window_seconds: float
    images_per_second: float
    loss: float | None
    """Mean training loss of the newest steps that were fetched from the device; None: not fetched in this window."""
    lr: float
    data_wait: float
    """Seconds of the window in which the loop waited for a batch."""
    copy: float | None
    """Seconds of host-to-device copies (CUDA events; None on the CPU, where nothing is copied)."""
    compute: float
    """Seconds of forward, backward and update (CUDA events on a GPU, the clock on the CPU)."""
    other: float
    """Seconds of the window that are none of the above: logging, the loop itself. Checkpoints and validation have
    phases of their own and are in no window."""
    prepare: float | None = None
    """The part of compute that was for changes of images on the device: normalising, mixing and the like."""
    forward: float | None = None
    backward: float | None = None
    update: float | None = None
    """These four make up compute; None in records of older versions."""
    launch_gap: float | None = None
    """Seconds of `other` in which a GPU had nothing to do though no batch was waited for: the host was too slow to
    launch work. None on the CPU."""
    first_batch_wait: float = 0.0
    """The part of data_wait that was for the first batch of an epoch."""
    wait_squares: float | None = None
    """Sum of the squares of the steps' waits (s²): how uneven they were; None in records of older versions."""
    grad_norm: float | None = None
    loss_scale: float | None = None
    queue_depth: float | None = None
    """Mean number of finished batches that waited for the loop."""
    queue_capacity: int | None = None
    vram_allocated: int | None = None
    vram_reserved: int | None = None
    vram_peak: int | None = None
    alloc_retries: int | None = None
    bytes_copied: int | None = None
    image_size: int | None = None
    """Side of the images of this window; None in records of older versions."""
    dropped: int = 0
    """Windows that were not reported because the queue to the supervisor was full."""


class LoaderStats(Event, frozen=True, tag="loader"):
    """Accounting inside the data workers since the last such event."""

    workers: int
    kind: str
    """``processes`` or ``threads`` or ``inline``."""
    seconds: float
    samples: int
    busy: float | None
    """Share of the workers' time that was spent on samples, 0…1."""
    cpu_ratio: float | None
    """CPU time over wall time while working on samples."""
    run_delay: float | None
    """Share of the working time in which a worker was runnable but not running (schedstat)."""
    read_share: float | None
    """Share of the working time that was spent reading files."""
    bytes_read: int | None
    """Bytes of the samples' files."""
    disk_bytes: int | None
    """Bytes that came from a disk and not from the page cache (``/proc/self/io``)."""
    cache_hits: int | None = None
    """Samples whose image was in the cache; None without a cache."""
    lock_share: float | None = None
    """Share of the looks at working workers that found one waiting for a lock, 0…1; None where nobody may look."""
    slowest: float | None = None
    """Seconds that the slowest sample took; None without samples."""
    slowest_image: str = ""
    bad_images: int = 0
    """Unreadable files that were met for the first time and replaced."""
    bad_examples: tuple[str, ...] = ()
    """Path and reason of the first of them."""


class EpochEnded(Event, frozen=True, tag="epoch_ended"):
    """All training images of an epoch were used."""

    epoch: int
    step: int
    seconds: float
    images_per_second: float
    train_loss: float | None
    train_accuracy: float | None = None


class Validated(Event, frozen=True, tag="validated"):
    """The model was tried on the validation images."""

    epoch: int
    step: int
    metrics: dict[str, float]
    """``loss``, ``accuracy`` (share of images, 0…1), ``accuracy_top5`` …"""
    metric: str
    """The metric that decides what is best."""
    best: bool
    images: int
    seconds: float


class CheckpointSaved(Event, frozen=True, tag="checkpoint"):
    """A checkpoint is complete on disk."""

    kind: Literal["last", "best", "requested", "final"]
    file: str
    """File name below the run's ``checkpoints`` folder."""
    step: int
    epoch: int
    bytes: int
    seconds: float
    """From its begin until it was complete on disk."""
    held: float | None = None
    """The part of them in which training stood still; None in records of older versions."""


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that holds memory on a GPU."""

    pid: int
    memory: int | None = None
    name: str = ""
    user: str = ""
    ours: bool = False
    hidden: bool = False
    """It lives in another pid namespace (NVML tells the host's pids): whose it is can't be told from here."""


class MigSample(Struct, frozen=True, omit_defaults=True):
    """One MIG instance at one moment. NVML has no utilization for it."""

    name: str
    uuid: str = ""
    gpu_instance: int | None = None
    compute_instance: int | None = None
    cuda_index: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    processes: tuple[GpuProcess, ...] = ()


class GpuSample(Struct, frozen=True, omit_defaults=True):
    """One GPU at one moment; every figure may be absent."""

    index: int
    uuid: str = ""
    name: str = ""
    error: str = ""
    """Why the GPU could not be read (``lost``, ``driver not loaded``, ``no answer for 3 s``), else empty."""
    utilization: float | None = None
    """Percent of the last sampling period in which any kernel ran (NVML ``utilization.gpu``)."""
    memory_utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power: float | None = None
    """Watts."""
    power_limit: float | None = None
    temperature: float | None = None
    """Degrees Celsius."""
    temperature_slowdown: float | None = None
    fan: float | None = None
    sm_clock: int | None = None
    """MHz."""
    sm_clock_max: int | None = None
    memory_clock: int | None = None
    pcie_rx: float | None = None
    pcie_tx: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    throttle: tuple[str, ...] = ()
    """Reasons for a lowered clock, in words (``power cap``, ``hardware thermal``)."""
    processes: tuple[GpuProcess, ...] = ()
    cuda_index: int | None = None
    """Its number in CUDA (``cuda:0``) for this run's processes; None: CUDA_VISIBLE_DEVICES hides it."""
    memory_clock_max: int | None = None
    memory_temperature: float | None = None
    encoder: float | None = None
    """Percent of the last sampling period in which the video encoder was busy; so the decoder."""
    decoder: float | None = None
    ecc_corrected: int | None = None
    """Memory errors that were corrected since the driver was loaded."""
    ecc_uncorrected: int | None = None
    nvlink_rx: float | None = None
    nvlink_tx: float | None = None
    sm_activity: float | None = None
    """Share of the cycles in which the multiprocessors had work, 0…1 (GPM, Hopper and newer); so the next three."""
    sm_occupancy: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    mig: bool = False
    """The GPU is divided into instances."""
    instances: tuple[MigSample, ...] = ()


class ProcessSample(Struct, frozen=True, omit_defaults=True):
    """One process of the run at one moment."""

    pid: int
    name: str
    cpu: float | None = None
    """Cores that it used."""
    rss: int | None = None
    threads: int | None = None
    state: str = ""
    """One letter as in ps: R runs, S sleeps, D waits for a disk, Z has ended."""


class DiskSample(Struct, frozen=True, omit_defaults=True):
    """Traffic of all disks, and of the device that holds the data."""

    read_rate: float | None = None
    write_rate: float | None = None
    read_iops: float | None = None
    write_iops: float | None = None
    device: str = ""
    """The data path's device, where it could be found."""
    device_read_rate: float | None = None
    device_busy: float | None = None
    """Share of the time in which the device had requests, 0…1."""
    filesystem: str = ""
    """Type of the data path's file system (``ext4``, ``overlay``, ``nfs4``)."""
    device_write_rate: float | None = None
    device_read_latency: float | None = None
    """Seconds that a read took, queueing included; None without reads."""
    device_write_latency: float | None = None
    device_queue: float | None = None
    """Requests that were in the device's queue on average."""


class HardwareSample(Event, frozen=True, tag="hardware"):
    """The machine at one moment."""

    interval: float
    """Seconds since the sample before; rates are means over it."""
    cpu_percent: float | None = None
    """Of all usable cores together, 0…100."""
    per_core: tuple[float, ...] = ()
    usable_cores: float = 0.0
    """min(affinity, cgroup quota); may be a fraction."""
    host_cores: int = 0
    load_1m: float | None = None
    cpu_frequency: float | None = None
    run_cpu: float | None = None
    """Cores that the run's own processes used."""
    foreign_cpu: float | None = None
    """Cores that all other processes used."""
    throttled_share: float | None = None
    """Share of cgroup periods in which the CPU quota ran out."""
    ram_total: int | None = None
    """The memory that the run may use: the host's, or its cgroup's limit."""
    ram_available: int | None = None
    ram_used: int | None = None
    ram_cached: int | None = None
    swap_used: int | None = None
    run_rss: int | None = None
    """Resident memory of the run's processes (shared pages counted once per process)."""
    shm_used: int | None = None
    shm_total: int | None = None
    disk: DiskSample | None = None
    net_rx: float | None = None
    net_tx: float | None = None
    psi_cpu: float | None = None
    """Pressure stall: share of the last 10 s in which some task waited, 0…1."""
    psi_io: float | None = None
    psi_memory: float | None = None
    gpus: tuple[GpuSample, ...] = ()
    gpu_error: str = ""
    """Why there are no GPUs to show (``no NVIDIA driver``), else empty."""
    sample_cost: float | None = None
    """Seconds of CPU time that taking this sample cost."""
    cpu_steal: float | None = None
    """Cores that the hypervisor gave to other machines meanwhile."""
    cpu_temperature: float | None = None
    psi_memory_full: float | None = None
    """Share of the last 10 s in which all tasks waited for memory, 0…1."""
    run_pss: int | None = None
    """Memory of the run's processes, shared pages divided among those who share them."""
    run_read_rate: float | None = None
    """Bytes per second that the run's processes read, from files, pipes and caches."""
    run_cache_hit: float | None = None
    """Share of them that no disk was needed for, 0…1; None while next to nothing is read."""
    processes: tuple[ProcessSample, ...] = ()
    """The run's own, those that use most CPU first; at most 32."""


class Prediction(Struct, frozen=True, omit_defaults=True):
    """What a change is expected to bring."""

    low: float | None = None
    """Images per second, at least and at most; None where that can't be known."""
    high: float | None = None
    limiter: str = ""
    """What would hold the run back then."""
    void: str = ""
    """Why nothing is promised; empty with a range."""


class Hint(Struct, frozen=True, omit_defaults=True):
    """A symptom, its evidence and what to do about it."""

    id: str
    """The rule's stable name."""
    severity: Literal["info", "warning", "critical"]
    title: str
    evidence: str
    action: str
    changes: dict[str, Any] = {}
    """Settings that would put the action into effect."""
    share: float = 0.0
    """Share of the time that it costs, 0…1; 0 where that has no number."""
    prediction: Prediction | None = None
    """With `changes`; None without them."""
    disproof: str = ""
    """What would show that this is not the cause."""
    path: tuple[str, ...] = ()
    """How the cause was found: what was asked of the signals on the way, a sentence each."""


class HintsChanged(Event, frozen=True, tag="hints"):
    """The hints that hold from now on, the most important first."""

    hints: tuple[Hint, ...]


class Tuned(Event, frozen=True, tag="tuned"):
    """The running training has changed how its data are loaded, or what became of such a change."""

    verdict: Literal["trying", "kept", "reverted", "refused"]
    changes: dict[str, Any]
    """What was asked for, by name of the setting."""
    was: dict[str, Any] = {}
    """The values before."""
    step: int = 0
    before: float | None = None
    """Images per second before and after; None before they are measured."""
    after: float | None = None
    promised: Prediction | None = None
    sender: str = ""
    text: str = ""
    """Why it was refused."""

    @property
    def now(self) -> dict[str, Any]:
        """The settings that hold from here on, of those that were asked for; empty if none changed."""
        if self.verdict == "refused":
            return {}
        return self.was if self.verdict == "reverted" else self.changes


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
    preempted: bool = False
    """Stopped because a batch system wants the machine: it is to be resumed."""


AnyEvent = (
    RunStarted
    | PhaseChanged
    | Notice
    | DataReady
    | ModelReady
    | Steps
    | LoaderStats
    | EpochEnded
    | Validated
    | CheckpointSaved
    | HardwareSample
    | HintsChanged
    | Tuned
    | LogLine
    | CommandTaken
    | RunEnded
)


class Command(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A request to a run; `sender` says who asks (user, host and terminal)."""

    sender: str = ""


class Stop(Command, frozen=True, tag="stop"):
    """End the run: after a checkpoint, or at once."""

    checkpoint: bool = True
    preempt: bool = False
    """A batch system asks, not a person: the run is to be resumed."""


class Checkpoint(Command, frozen=True, tag="checkpoint"):
    """Write a checkpoint after the current step."""


class Pause(Command, frozen=True, tag="pause"):
    """Stop stepping, keep everything in memory."""


class Resume(Command, frozen=True, tag="resume"):
    """Go on after `Pause`."""


EXACT_SETTINGS = ("num_workers", "prefetch_factor", "persistent_workers", "loader", "pin_memory", "non_blocking")
"""Settings that a running training can change with the same losses bit for bit."""
LIVE_SETTINGS = (*EXACT_SETTINGS, "cache")
"""Settings that it can change between two batches; a cached image has been resized once more."""


class Tune(Command, frozen=True, tag="tune"):
    """Try other settings for loading data, measure, and keep or take them back."""

    changes: dict[str, Any]
    """`LIVE_SETTINGS` only."""
    aim: Literal["speed", "memory"] = "speed"
    """What it is for: one for memory is kept if the training is not slower."""
    promised: Prediction | None = None


AnyCommand = Stop | Checkpoint | Pause | Resume | Tune

_encoder = msgspec.json.Encoder()
_event_decoder = msgspec.json.Decoder(AnyEvent)
_command_decoder = msgspec.json.Decoder(AnyCommand)


def encode(event: Event) -> bytes:
    """One line of JSON, without the line break. A loss that is not finite becomes null."""
    return _encoder.encode(event)


class _NoFigureError(ValueError):
    """A number that nothing measures, and that overflows in sums."""


def decode(line: bytes) -> AnyEvent | None:
    """The event of a line; None for a torn line, a type that a later version added, or figures beyond 1e100.

    Texts come out harmless (`gputrain.engine.text.plain`), whoever wrote them.
    """
    try:
        event: AnyEvent = _event_decoder.decode(line)
        # JSON shows whether a text can hold anything but printable ASCII: then it has an escape or other bytes.
        if line.isascii() and not _SUSPICIOUS.search(line):
            return event
        harmless: AnyEvent = msgspec.convert(_harmless(msgspec.to_builtins(event)), AnyEvent)
        return harmless
    except (msgspec.DecodeError, UnicodeError, RecursionError, _NoFigureError):
        return None


def _harmless(value: Any, name: str = "") -> Any:
    match value:
        case str() if name == "traceback":
            return "\n".join(map(plain, value[:_MAX_TRACEBACK].split("\n")))
        case str():
            return plain(value)
        case float() if abs(value) > _LARGEST:
            raise _NoFigureError
        case dict():
            return {_harmless(key): _harmless(inner, str(key)) for key, inner in value.items()}
        case list() | tuple():
            return [_harmless(inner) for inner in value]
        case _:
            return value


def stamp(event: AnyEvent, seq: int, wall: float, mono: float) -> AnyEvent:
    """`event` as it is recorded: numbered, versioned and timed."""
    return msgspec.structs.replace(event, seq=seq, v=FORMAT_VERSION, wall=wall, mono=mono)


def encode_command(command: AnyCommand) -> bytes:
    """A command as JSON."""
    return _encoder.encode(command)


def decode_command(raw: bytes) -> AnyCommand:
    """The command in `raw`. Raises msgspec.DecodeError."""
    command: AnyCommand = _command_decoder.decode(raw)
    return command
