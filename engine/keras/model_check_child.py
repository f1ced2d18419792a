"""Child process that compares a Keras model with a file of weights, started by `jobs.model_check_job`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization, settings
from gputrain.engine.configuration.engine_choice import KERAS
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.model_check_job import InputConfig, ModelFacts, ModelOrder
from gputrain.engine.keras import environment
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_OUTPUTS = 1000
"""Of a model for data whose classes are not known."""


def _work(order: ModelOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> ModelFacts:
    config = settings.replace(order.config, device="cpu")
    environment.prepare(config)
    return check(config, size_from_weights=order.size_from_weights, outputs=order.outputs)


def check(config: RunConfig, *, size_from_weights: bool = False, outputs: int | None = None) -> ModelFacts:
    """The facts of a model of `config` and its file of weights. Raises BadInput for what can't be overruled."""
    # Imported here: TensorFlow takes seconds, and reads the environment.
    from gputrain.engine.keras import checkpoint, networks

    content = checkpoint.content_of(config.model.weights)
    found = _input(content.get("settings"), Path(config.model.weights).name)
    if size_from_weights and found is not None and found.size:
        config = settings.replace(config, image_size=found.size)
    network = networks.build(settings.replace(config, weights=""), outputs or _OUTPUTS)
    fit = networks.fit(network, content["model"], config)
    if not fit.fault:
        return ModelFacts(input=found, loaded=fit.summary)
    forceable = (fit.fault,) if "weights_strict=false" in fit.fault else ()
    return ModelFacts((fit.fault,), forceable, (), found, fit.summary)


def _input(stored: Any, file: str) -> InputConfig | None:
    """Image size and interpolation of the run that wrote the checkpoint."""
    if not isinstance(stored, Mapping) or "image_size" not in stored:
        return None
    try:
        names = ("image_size", "val_resize", "crop_mode", "interpolation")
        data = settings.build({name: stored[name] for name in names if name in stored}).data
    except BadInput:
        return None
    return InputConfig(
        origin=f"settings in {plain(file, 80)}",
        size=data.image_size,
        resize=data.val_resize,
        crop_mode="" if data.crop_mode == "center" else data.crop_mode,
        interpolation=normalization.interpolation_of(data),
    )


if __name__ == "__main__":
    serve_job(ModelOrder, _work, KERAS)
