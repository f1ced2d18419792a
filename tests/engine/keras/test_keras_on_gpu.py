"""What only an NVIDIA GPU shows of Keras: memory that grows and is told, mixed_float16, XLA, prediction's peak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.keras.keras_tools import draw_images, keras_config, needs_tensorflow

from gputrain.engine.events import AnyEvent, ModelReady, Outcome, RunEnded, Steps
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.launching import launch
from gputrain.tui.cli import main

pytestmark = [
    needs_tensorflow,
    pytest.mark.gpu,
    pytest.mark.skipif(not inspect_machine().gpus, reason="needs an NVIDIA GPU, and TensorFlow's CUDA libraries"),
]


@pytest.mark.parametrize(("precision", "compiled"), [("fp16", False), ("fp16", True), ("fp32", False)])
def test_a_run_on_a_gpu_tells_its_memory_and_its_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, compiled: bool
) -> None:
    images = draw_images(tmp_path / "images")
    config = keras_config(images, device="cuda", precision=precision, compile=compiled, epochs=3)
    run = launch.launch(config)
    attachment, events = launch.attach(run), list[AnyEvent]()
    while not any(isinstance(event, RunEnded) for event in events):
        events += attachment.read(0.5)
    (ended,) = [event for event in events if isinstance(event, RunEnded)]
    assert ended.outcome is Outcome.FINISHED, ended
    (ready,) = [event for event in events if isinstance(event, ModelReady)]
    assert (ready.device, ready.precision, ready.compiled) == ("cuda:0", precision, compiled)
    last = [event for event in events if isinstance(event, Steps)][-1]
    assert last.vram_peak is not None
    assert last.vram_allocated is not None
    assert last.vram_peak >= last.vram_allocated > 0
    assert (last.loss_scale is not None) is (precision == "fp16")
    while run.is_live():
        attachment.read(0.1)
    assert main.main(["predict", run.id, "--from", "last", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predicted"]
    assert found["gpu"]
    assert found["peak_bytes"] > 0
