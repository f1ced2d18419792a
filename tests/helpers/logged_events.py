"""Events of a small run, as loggers get them."""

from __future__ import annotations

from gputrain.engine.events import ModelReady, Steps


def steps(step: int, loss: float | None = None) -> Steps:
    return Steps(
        step=step,
        epoch=0,
        epoch_step=step,
        images=4 * step,
        window_steps=1,
        window_seconds=0.5,
        images_per_second=8.0,
        loss=loss,
        lr=0.1,
        data_wait=0.125,
        copy=None,
        compute=0.3,
        other=0.075,
    )


def model_ready(start_step: int = 0) -> ModelReady:
    return ModelReady(
        model="simple_cnn",
        parameters=10,
        device="cpu",
        device_name="CPU",
        precision="fp32",
        channels_last=False,
        compiled=False,
        optimizer="sgd",
        total_steps=9,
        total_updates=9,
        start_step=start_step,
    )
