"""Child process that checks a model and its weights without their values, started by `jobs.model_check_job`."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.model_check_job import ModelFacts, ModelOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_OUTPUTS = 1000


def _work(order: ModelOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> ModelFacts:
    return check(order.config, size_from_weights=order.size_from_weights)


def check(config: RunConfig, *, size_from_weights: bool = False) -> ModelFacts:
    """The facts of a model of `config` on the meta device. Raises BadInput for what can't be overruled."""
    from gputrain.engine.training.models import create_model, image_size_check, input_config

    found = input_config.of_weights(config)
    if size_from_weights and found is not None and found.size:
        config = settings.replace(config, image_size=found.size)
    if config.data.dataset in ("clips", "custom"):
        # The task puts the model into another network.
        return ModelFacts(input=found)
    network = create_model.on_meta(config, _OUTPUTS)
    image_size_check.check(network, config)
    path = Path(config.model.weights).expanduser()
    fault = _fault(config, network, path) if config.model.weights and path.is_file() else ""
    refused = (fault,) if fault else ()
    return ModelFacts(refused, tuple(text for text in refused if "weights_strict=false" in text), (), found)


def _fault(config: RunConfig, network: object, path: Path) -> str:
    from torch import nn

    from gputrain.engine.training.models import pretrained_weights, strict_loading
    from gputrain.engine.training.models.weights_file import read_weights

    assert isinstance(network, nn.Module)
    tensors = read_weights(path, shapes_only=True).tensors
    try:
        state, _ = pretrained_weights.convert(network, tensors, str(path))
    except BadInput as error:
        return str(error)
    found = strict_loading.match(network, state, _OUTPUTS)
    return pretrained_weights.why_unfit(found, config.model.model, str(path), strict=config.model.weights_strict)


if __name__ == "__main__":
    serve_job(ModelOrder, _work)
