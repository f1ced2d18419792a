"""The process that tries a trained network on images, as asked by `gputrain.engine.predicting`: ``python -m`` this."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gputrain.engine.childwork import Tell
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.predicting import Predicted, PredictOrder
from gputrain.engine.training.childentry import serve
from gputrain.engine.training.control import Control
from gputrain.engine.training.reporter import Reporter

if TYPE_CHECKING:
    from torch import nn

    from gputrain.engine.training.device import Compute
    from gputrain.engine.training.tasks.task import Task


def _work(order: PredictOrder, reporter: Reporter, control: Control, tell: Tell) -> Predicted:
    # Only now torch: what is done is told first.
    from gputrain.engine.training import checkpoint, device, pictures
    from gputrain.engine.training.trial import Trial

    compute = device.set_up(order.config, reporter.notice)
    state = checkpoint.load(order.config.resume_from, tell)
    classes, labelled = tuple(state["classes"]), True
    tell("looking for images")
    if order.images:
        images, task, labelled = pictures.of_path(Path(order.images), order.config, classes)
    else:
        images, task = pictures.of_run(order.config, reporter, control)
        if images.classes != classes:
            raise BadInput("the data have other classes than the run had; name images instead: --images DIR")
    network = trained(order.config, task, compute, state)
    return Trial(order, compute, task, images, labelled=labelled).run(network, control, tell)


def trained(config: RunConfig, task: Task, compute: Compute, state: dict[str, Any]) -> nn.Module:
    """The network with the weights that were validated: the average, where the run kept one. Raises BadInput."""
    from gputrain.engine.training import model

    network = model.build(config, task, compute)
    try:
        network.load_state_dict(state["ema"] or state["model"])
    except RuntimeError as error:
        raise BadInput(f"the checkpoint does not fit the model: {str(error).splitlines()[0]}") from None
    return network.eval()


if __name__ == "__main__":
    serve(PredictOrder, _work)
