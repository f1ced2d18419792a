"""Prediction job: predicts images with a run's checkpoint in a child process. No torch."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice, settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.processes.child_job import Tell, run_job
from gputrain.engine.runs.run_directory import RunDir


class PredictOrder(Struct, frozen=True, kw_only=True):
    """The child's input."""

    config: RunConfig
    """The run's, for this machine; ``resume_from`` is the checkpoint."""
    images: str = ""
    """A folder of images, or one image; empty: the run's validation images."""
    output: str = ""
    """CSV file for the predictions; empty: none."""
    limit: int = 0
    """Most samples to predict; 0: all."""


class Predicted(Struct, frozen=True, kw_only=True):
    """The child's result."""

    device: str
    """The name of the processor or GPU."""
    gpu: bool
    precision: str
    """The precision of the computation."""
    batch_size: int
    samples: int
    seconds: float
    """Seconds for all samples; without those of the first batch if there are more."""
    samples_per_second: float
    peak_bytes: int | None
    """Peak memory of the GPU, or on the CPU of the process; None: not reported."""
    metrics: dict[str, float]
    """By name; empty for images without labels."""
    metric: str
    """The task's main metric."""
    bad_samples: int
    """Samples that could not be read and have no prediction."""
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Number of samples predicted for each of `classes`."""


def checkpoint_of(run: RunDir, wanted: str) -> checkpoint_index.Entry:
    """The checkpoint for `wanted`: ``best`` (the last one, if no best exists), ``last`` or a step.

    Raises BadInput if there is none.
    """
    entries = checkpoint_index.read_index(run.checkpoints)
    if wanted == "best" and not any(entry.best for entry in entries):
        wanted = "last"
    try:
        return checkpoint_index.find(run.checkpoints, wanted)
    except BadInput as error:
        raise BadInput(f"{run.id}: {error}") from None


def config_of(config: RunConfig, run: RunDir, entry: checkpoint_index.Entry) -> RunConfig:
    """`config` of `run` with its checkpoint `entry`; compile and cache are off, as each image is used once."""
    return settings.replace(
        config, resume_from=str(run.checkpoints / entry.file), compile=False, cache="none", max_bad_images=1e9
    )


def predict(order: PredictOrder, tell: Tell) -> Predicted:
    """Predict in a child process.

    Raises BadInput where checkpoint, images or settings cannot be used, RuntimeError where the work fails.
    """
    engine_choice.require(order.config)
    package = "keras" if order.config.engine == engine_choice.KERAS else "training"
    return run_job(f"gputrain.engine.{package}.inference.predict_child", order, Predicted, tell)
