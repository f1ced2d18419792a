"""What all ranks do together before rank 0 writes a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gputrain.engine.checkpointing.resume_position import ResumePosition
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.optim import optimizers
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.state import training_state


def prepare_state(
    where: ResumePosition,
    config: RunConfig,
    images: ImageSet,
    stepper: TrainStep,
    ranks: SingleProcess,
    folder: Path | None,
) -> Callable[[], dict[str, Any]]:
    """A function that returns the checkpoint's content on rank 0, or raises OSError. All ranks call this.

    `folder`: with divided weights, where each rank writes its part now. Raises RankLostError.
    """
    ema = stepper.ema.network if stepper.ema is not None else None
    ranks.average_buffers([stepper.network, *([ema] if ema is not None else [])])
    optimizers.gather_state(stepper.optimizer)
    rng_states = ranks.gather(training_state.generator_states()) if ranks.count > 1 else ()
    shards: dict[str, Any] | None = None
    failed: OSError | None = None
    if folder is not None:
        try:
            shards = training_state.write_shards(folder, where.step, stepper, ranks)
        except OSError as error:
            failed = error

    def state() -> dict[str, Any]:
        if failed is not None:
            raise failed
        return training_state.state_of(where, config, images, stepper, rng_states, shards)

    return state
