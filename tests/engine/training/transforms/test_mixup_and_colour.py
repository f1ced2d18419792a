"""Speed settings take effect: checked in the network, torch's switches and the profiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.training.device_batches import config, prepared, stepper
from helpers.training.training_tools import draw_images, small_config, train
from torch import nn
from torch.profiler import ProfilerActivity, profile

from gputrain.engine.events import Steps
from gputrain.engine.training.models import create_model
from gputrain.engine.training.networks.clip_network import ClipNetwork
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.runtime import device
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.tasks.classification import Classification

RECIPE_MODELS = ("simple_cnn", "resnet18", "resnet50", "efficientnet_b0", "mobilenet_v2")


def seen_by_convolutions(network: nn.Module) -> list[torch.Tensor]:
    """Inputs of the network's convolutions, filled in by its next forward pass."""
    seen: list[torch.Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    return seen


@pytest.mark.parametrize("on", [True, False])
def test_channels_last_reaches_weights_and_every_convolution(on: bool) -> None:
    run = config(channels_last=on)
    made = stepper(run)
    layout = torch.channels_last if on else torch.contiguous_format
    wide = [p for p in made.network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=layout) for p in wide)
    seen = seen_by_convolutions(made.network)
    made.backward(prepared(run), 1.0)
    assert seen
    assert all(images.is_contiguous(memory_format=layout) for images in seen)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_convolutions_and_not_of_weights_or_loss(
    precision: device.Precision, dtype: torch.dtype
) -> None:
    compute = Compute(torch.device("cpu"), "a CPU", precision)
    run = config(precision=precision)
    made = stepper(run, compute)
    outputs: list[torch.Tensor] = []
    for module in made.network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    loss = made.backward(prepared(run, compute), 1.0)
    assert {output.dtype for output in outputs} == {dtype}
    assert {p.dtype for p in made.network.parameters()} == {torch.float32}
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("on", [True, False])
def test_global_switches_are_set_both_ways(on: bool) -> None:
    device.set_up(config(tf32=on, cudnn_benchmark=on, precision="fp32"), lambda _level, _text: None)
    assert torch.backends.cudnn.allow_tf32 is on
    assert torch.backends.cuda.matmul.allow_tf32 is on
    assert torch.backends.cudnn.benchmark is on


@pytest.mark.parametrize(
    ("optimizer", "fused", "kernel"),
    [("sgd", True, "aten::_fused_sgd_"), ("adamw", True, "aten::_fused_adamw_"), ("sgd", False, "")],
)
def test_the_fused_optimizer_is_one_kernel_per_group(optimizer: str, fused: bool, kernel: str) -> None:
    run = config(optimizer=optimizer, fused_optimizer=fused)
    made = stepper(run)
    made.backward(prepared(run), 1.0)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        made.update(0.1, 1)
    names = [event.key for event in seen.key_averages() if "fused" in event.key]
    assert names == ([kernel] if kernel else [])


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_are_freed_or_zeroed(to_none: bool) -> None:
    run = config(set_to_none=to_none)
    made = stepper(run)
    made.backward(prepared(run), 1.0)
    made.update(0.1, 1)
    left = [p.grad for p in made.network.parameters()]
    assert all(g is None if to_none else g is not None and not g.any() for g in left)


def test_weight_decay_leaves_norms_and_biases_out() -> None:
    made = stepper(config(weight_decay=0.5))
    decayed, plain = made.optimizer.param_groups
    assert decayed["weight_decay"] == 0.5
    assert plain["weight_decay"] == 0.0
    assert {p.ndim for p in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(made.network.parameters()))


@pytest.mark.parametrize(("asked", "dtype"), [("same", torch.bfloat16), ("fp32", torch.float32)])
def test_val_precision_applies_to_validation_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, dtype: torch.dtype
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    class Watched(SimpleCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(images)
            if len(images) == 6:
                # A batch, and not the one image whose operations are counted.
                seen.add((self.training, outputs.dtype))
            return outputs

    monkeypatch.setattr(create_model, "SimpleCNN", Watched)
    changes = {"epochs": 1, "precision": "bf16", "val_precision": asked}
    train(tmp_path / "run", small_config(draw_images(tmp_path / "images", per_class=4), **changes))
    assert seen == {(True, torch.bfloat16), (False, dtype)}


@pytest.mark.long
@pytest.mark.parametrize("name", [*RECIPE_MODELS, "convlstm"])
def test_the_recipes_models_compile_without_a_graph_break(name: str) -> None:
    compute = Compute(torch.device("cpu"), "a CPU", "bf16")
    if name == "convlstm":
        network: nn.Module = ClipNetwork([SimpleCNN(2, 4), SimpleCNN(2, 4)], 2)
        images = torch.randn(2, 2 * 3, 3, 32, 32)
    else:
        network = create_model.build(config(model=name), Classification(3), compute)
        images = torch.randn(2, 3, 64, 64)

    def forward(images: torch.Tensor) -> torch.Tensor:
        with compute.autocast():
            scores: torch.Tensor = network(images)
        return scores

    try:
        found = torch._dynamo.explain(forward)(images)
        assert found.graph_count == 1
        assert found.graph_break_count == 0, found.break_reasons
    finally:
        torch._dynamo.reset()


def test_a_window_reports_the_parts_of_its_steps(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    windows: list[Steps] = train(tmp_path / "run", small_config(images, epochs=1)).of(Steps)
    for window in windows:
        parts = [window.prepare, window.forward, window.backward, window.update]
        assert all(part is not None and part > 0 for part in parts)
        assert window.compute == pytest.approx(sum(part or 0.0 for part in parts))
        assert window.launch_gap is None


def test_simple_cnn_takes_any_size() -> None:
    network = SimpleCNN(3, 8)
    assert network(torch.randn(2, 3, 40, 56)).shape == (2, 3)
