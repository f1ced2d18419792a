"""Using what a run has learned: what the process that predicts is asked for, and what it tells. No torch."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice, settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Tell, run_job
from gputrain.engine.runs.run_directory import RunDir


class PredictOrder(Struct, frozen=True, kw_only=True):
    """What the child is asked for."""

    config: RunConfig
    """The run's, for this machine; ``resume_from`` is the checkpoint."""
    images: str = ""
    """A folder of images, or one image; empty: the run's validation images."""
    output: str = ""
    """CSV file for what is predicted; empty: none."""
    limit: int = 0
    """At most so many samples; 0: all."""


class Predicted(Struct, frozen=True, kw_only=True):
    """What the child did."""

    device: str
    """The name of the processor or GPU."""
    gpu: bool
    precision: str
    """What it computed in."""
    batch_size: int
    samples: int
    seconds: float
    """For all samples but those of the first batch, where there are more."""
    samples_per_second: float
    peak_bytes: int | None
    """The GPU's memory, or on the CPU the process's; None: the kernel does not tell."""
    metrics: dict[str, float]
    """By name; empty for images without labels."""
    metric: str
    """The one that judges."""
    bad_samples: int
    """Samples that could not be read, which have no prediction."""
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """How many samples were given to each of `classes`."""


def checkpoint_of(run: RunDir, wanted: str) -> checkpoint_index.Entry:
    """The checkpoint that `wanted` means: ``best`` (the last one, where there is no best), ``last`` or a step.

    Raises BadInput.
    """
    entries = checkpoint_index.read_index(run.checkpoints)
    if wanted == "best" and not any(entry.best for entry in entries):
        wanted = "last"
    try:
        return checkpoint_index.find(run.checkpoints, wanted)
    except BadInput as error:
        raise BadInput(f"{run.id}: {error}") from None


def config_of(config: RunConfig, run: RunDir, entry: checkpoint_index.Entry) -> RunConfig:
    """`config` of `run` for using its checkpoint `entry`: nothing is compiled or cached for one look at each image."""
    return settings.replace(
        config, resume_from=str(run.checkpoints / entry.file), compile=False, cache="none", max_bad_images=1e9
    )


def predict(order: PredictOrder, tell: Tell) -> Predicted:
    """Do what `order` asks for, in a process of its own.

    Raises BadInput where checkpoint, images or settings cannot be used, RuntimeError where the work fails.
    """
    engine_choice.require(order.config)
    package = "keras" if order.config.engine == engine_choice.KERAS else "training"
    return run_job(f"gputrain.engine.{package}.inference.predict_child", order, Predicted, tell)
