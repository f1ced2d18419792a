"""Child process of a prediction with PyTorch, started by `jobs.predict_job` with ``python -m``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

if TYPE_CHECKING:
    from torch import nn

    from gputrain.engine.training.runtime.device import Compute
    from gputrain.engine.training.tasks.task import Task


def _work(order: PredictOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> Predicted:
    # Imported here: torch takes seconds, and progress is reported first.
    from gputrain.engine.training.inference import input_images
    from gputrain.engine.training.inference.prediction import PredictionRun
    from gputrain.engine.training.models import input_config
    from gputrain.engine.training.runtime import device
    from gputrain.engine.training.state import torch_checkpoint

    compute = device.set_up(order.config, reporter.notice)
    state = torch_checkpoint.load(order.config.resume_from, tell)
    order = msgspec.structs.replace(order, config=input_config.of_checkpoint(order.config, state))
    classes, labelled = tuple(state["classes"]), True
    tell("looking for images")
    if order.images:
        images, task, labelled = input_images.images_at(Path(order.images), order.config, classes, reporter)
    else:
        images, task = input_images.validation_images(order.config, reporter, control)
        if images.classes != classes:
            raise BadInput("the data have other classes than the run had; name images instead: --images DIR")
    network = load_trained(order.config, task, compute, state)
    return PredictionRun(order, compute, task, images, labelled=labelled).run(network, control, tell)


def load_trained(config: RunConfig, task: Task, compute: Compute, state: dict[str, Any]) -> nn.Module:
    """The network with the checkpoint's weights: the EMA weights if there are any. Raises BadInput."""
    from gputrain.engine.training.models import create_model, strict_loading

    network = create_model.build(config, task, compute)
    weights = state["ema"] or state["model"]
    found = strict_loading.match(network, weights, None)
    if not found.is_complete:
        raise BadInput(f"the checkpoint does not fit the model: {strict_loading.explain(found)}")
    strict_loading.load(network, weights, found)
    return network.eval()


if __name__ == "__main__":
    serve_job(PredictOrder, _work)
