"""Child process that checks a model and its weights without their values, started by `jobs.model_check_job`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.model_check_job import ModelFacts, ModelOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

if TYPE_CHECKING:
    from torch import nn

    from gputrain.engine.training.models.weights_file import WeightsFile

_OUTPUTS = 1000
"""Of a model for data whose classes are not known."""


def _work(order: ModelOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> ModelFacts:
    return check(order.config, size_from_weights=order.size_from_weights, outputs=order.outputs)


def check(config: RunConfig, *, size_from_weights: bool = False, outputs: int | None = None) -> ModelFacts:
    """The facts of a model of `config` on the meta device. Raises BadInput for what can't be overruled."""
    from gputrain.engine.training.models import create_model, image_size_check, input_config
    from gputrain.engine.training.models.weights_file import read_weights

    path = files.expand_user(config.model.weights) if config.model.weights else None
    file = read_weights(path) if path is not None and path.is_file() else None
    found = input_config.of_weights(config, file)
    if size_from_weights and found is not None and found.size:
        config = settings.replace(config, image_size=found.size)
    if config.data.dataset in ("clips", "custom"):
        # The task puts the model into another network.
        return ModelFacts(input=found)
    network = create_model.on_meta(config, outputs or _OUTPUTS)
    image_size_check.check(network, config)
    if file is None:
        return ModelFacts(input=found)
    refused, summary = _compare(config, network, file, outputs or _OUTPUTS)
    return ModelFacts(refused, tuple(text for text in refused if "weights_strict=false" in text), (), found, summary)


def _compare(config: RunConfig, network: nn.Module, file: WeightsFile, outputs: int) -> tuple[tuple[str, ...], str]:
    """The faults of a file, and what would be loaded."""
    from gputrain.engine.training.models import pretrained_weights

    model, source = config.model.model, str(files.expand_user(config.model.weights))
    strict = config.model.weights_strict
    faults, tensors = [], dict(file.tensors)
    if (broken := pretrained_weights.nonfinite_names(tensors)) and strict:
        faults.append(pretrained_weights.nonfinite(broken, source))
    dropped = (f"without {len(broken)} tensors with NaN or Inf",) if broken else ()
    on_meta = {name: tensor.to("meta") for name, tensor in tensors.items() if name not in broken}
    try:
        made = pretrained_weights.prepare(network, on_meta, source, outputs, strict=False)
    except BadInput as error:
        return (str(error),), ""
    if fault := pretrained_weights.why_unfit(made.found, model, source, strict=strict and not broken):
        faults.append(fault)
    made = made._replace(notes=(*made.notes, *dropped))
    return tuple(faults), pretrained_weights.summary(made, model, source, pretrained_weights.notes_of(file))


if __name__ == "__main__":
    serve_job(ModelOrder, _work)
