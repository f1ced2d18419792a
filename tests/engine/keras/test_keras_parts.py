"""The parts of the room of Keras, each against another computation: pixels, order, update rules, precision, losses."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.keras.keras_tools import draw_images, keras_config, needs_tensorflow, own_environment, train
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading import batch_sampler, random_resized_crop
from gputrain.engine.datasets import image_set
from gputrain.engine.events import ModelReady, Notice, Outcome, Steps
from gputrain.engine.shared_loop import lr_schedule
from gputrain.engine.training.optim import optimizers

pytestmark = needs_tensorflow
__all__ = ["own_environment"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


def pipeline(folder: Path, *, train: bool = True, **changes: Any) -> Any:
    from gputrain.engine.keras.data.tf_data_pipeline import Pipeline

    found = image_set.scan(str(folder), "train" if train else "val")
    return Pipeline(found, keras_config(folder, **changes), train=train, on_bad=lambda bad: pytest.fail(str(bad)))


@pytest.mark.parametrize("size", [(48, 48), (500, 375), (33, 400), (300, 20), (1, 1)])
def test_boxes_are_those_of_the_other_engine(size: tuple[int, int]) -> None:
    from gputrain.engine.keras.data import tf_transforms

    draws = random_resized_crop.uniforms(7, 3, np.arange(40))
    for row in draws:
        ours = tuple(int(value) for value in tf_transforms.random_box(row, *size, 0.08))
        assert ours == random_resized_crop.random_crop_box(row.tolist(), *size, 0.08)


def test_order_and_flips_are_those_of_the_other_engine_for_any_workers(folder: Path) -> None:
    expected = batch_sampler.batches(36, 6, seed=5, epoch=2, shuffle=True, drop_last=True)
    seen = []
    for workers in (0, 1, 3):
        source = pipeline(folder, num_workers=workers, seed=5)
        batches = list(source.epoch(2))
        for number, batch in enumerate(batches):
            assert (batch.indices == expected.indices(number)).all()
            assert (batch.flips.numpy() == random_resized_crop.draw_flips(5, 2, batch.indices)).all()
            assert (batch.labels.numpy() == batch.indices // 12).all()
        seen.append(np.concatenate([batch.pixels.numpy() for batch in batches]))
        later = next(source.epoch(2, 4))
        assert (later.pixels.numpy() == batches[4].pixels.numpy()).all()
    assert (seen[0] == seen[1]).all()
    assert (seen[0] == seen[2]).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("train", [True, False])
def test_pixels_are_those_of_pillow(tmp_path: Path, train: bool, suffix: str) -> None:
    """The box, resized with antialiasing; in validation the centre of the resized image."""
    with Image.open(draw_images(tmp_path, side=90) / "train" / "down" / "0.jpg") as image:
        image.crop((0, 0, 90, 70)).save(tmp_path / "train" / "down" / f"00.{suffix}", quality=95)
    source = pipeline(tmp_path, train=train, num_workers=0, augment="crop_flip")
    path = tmp_path / "train" / "down" / f"00.{suffix}"
    draws = random_resized_crop.uniforms(0, 0, np.array([12]))[0]
    ours = source._view.pixels(str(path), draws).numpy().astype(int)
    with Image.open(path) as image:
        if train:
            left, top, width, height = random_resized_crop.random_crop_box(draws.tolist(), 90, 70, 0.5)
            box = (left, top, left + width, top + height)
            theirs = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR, box)
        else:
            part = random_resized_crop.center_crop_box(90, 70, 36, 32)
            whole = image.convert("RGB").resize((part.resized_width, part.resized_height), Image.Resampling.BILINEAR)
            theirs = whole.crop((part.kept_left, part.kept_top, part.kept_left + 32, part.kept_top + 32))
    difference = np.abs(ours - np.asarray(theirs).astype(int))
    assert difference.mean() < 1.5
    assert difference.max() < 40


def test_without_augmentation_training_sees_the_centre(folder: Path) -> None:
    batch = next(pipeline(folder, augment="none", num_workers=0).epoch(0))
    assert not batch.flips.numpy().any()
    again = next(pipeline(folder, augment="none", num_workers=0).epoch(0))
    assert (batch.pixels.numpy() == again.pixels.numpy()).all()


RULES = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_updates_are_those_of_torch(folder: Path, rule: dict[str, Any]) -> None:
    """Two updates by the same gradients, with a decay that counts."""
    import torch

    from gputrain.engine.keras import device, networks
    from gputrain.engine.keras.library import tf
    from gputrain.engine.keras.train_step import TrainStep

    config = keras_config(folder, weight_decay=0.1, lr=0.01, **rule)
    device.set_up(config, lambda level, text: None)
    network = networks.build(config, 3)
    stepper = TrainStep(network, config, 3, "fp32")
    theirs = [torch.nn.Parameter(torch.from_numpy(v.numpy().copy())) for v in network.trainable_variables]
    holder = torch.nn.ParameterList(theirs)
    torchs = optimizers.make_optimizer(holder, config)
    for batch in itertools.islice(pipeline(folder, num_workers=0).epoch(0), 2):
        pixels = batch.pixels.numpy()
        flipped = np.where(batch.flips.numpy()[:, None, None, None], pixels[:, :, ::-1], pixels).astype(np.float32)
        with tf.GradientTape() as tape:
            scores = network(flipped, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, scores))
        gradients = tape.gradient(loss, [v.value for v in network.trainable_variables])
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.numpy())
        torchs.step()
        told = stepper.step(batch, 0.01).numpy()
        assert told[0] == pytest.approx(float(loss), rel=1e-4)
        for variable, parameter in zip(network.trainable_variables, theirs, strict=True):
            difference = np.abs(variable.numpy() - parameter.detach().numpy())
            # Adam's first updates are the signs of the gradients, those of rounding too.
            assert (difference < 1e-4).mean() > 0.99, variable.path


def test_smoothing_spreads_a_share_over_all_classes(folder: Path) -> None:
    from gputrain.engine.keras import device, networks
    from gputrain.engine.keras.train_step import TrainStep

    config = keras_config(folder, label_smoothing=0.3)
    device.set_up(config, lambda level, text: None)
    stepper = TrainStep(networks.build(config, 3), config, 3, "fp32")
    scores, labels = np.array([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]], np.float32), np.array([1, 0], np.int32)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    wanted = np.eye(3)[labels] * 0.7 + 0.1
    assert np.allclose(stepper._losses(scores, labels).numpy(), -(wanted * np.log(shares)).sum(1), atol=1e-6)


def test_the_rate_follows_the_schedule(folder: Path, tmp_path: Path) -> None:
    config = keras_config(folder, schedule="cosine", warmup_epochs=0.5, lr=0.01)
    course = lr_schedule.LRSchedule(config, 6)
    for event in train(tmp_path, config).of(Steps):
        assert event.lr == course.lr_at(event.step - 1)


def test_mixed_precision_in_fp16_scales_the_loss(folder: Path) -> None:
    """On the CPU no run would do so; the graph is the same as on a GPU."""
    from gputrain.engine.keras import checkpoint, device, networks, optimizers
    from gputrain.engine.keras.library import keras
    from gputrain.engine.keras.train_step import TrainStep

    config = keras_config(folder, clip_grad_norm=1.0)
    device.set_up(config, lambda level, text: None)
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    network = networks.build(config, 3)
    assert {v.dtype for v in network.trainable_variables} == {"float32"}
    stepper = TrainStep(network, config, 3, "fp16")
    before = [v.numpy() for v in network.trainable_variables]
    for batch in itertools.islice(pipeline(folder, num_workers=0).epoch(0), 3):
        loss, scale = stepper.step(batch, 0.01).numpy()
    assert np.isfinite(loss)
    assert scale == 2**15
    # A run may go on in another precision.
    plain = optimizers.make_optimizer(network, config, "fp32")
    checkpoint.restore_arrays(
        plain.variables, checkpoint.arrays_of(stepper.optimizer.variables), "optimizer", optimizers.SCALING
    )
    assert [int(v.numpy()) for v in plain.variables if v.path.endswith("iteration")] == [3]
    checkpoint.restore_arrays(
        stepper.optimizer.variables, checkpoint.arrays_of(plain.variables), "optimizer", optimizers.SCALING
    )
    with pytest.raises(BadInput, match="does not fit the optimizer"):
        checkpoint.restore_arrays(plain.variables, {}, "optimizer", optimizers.SCALING)
    assert any((v.numpy() != old).any() for v, old in zip(network.trainable_variables, before, strict=True))
    keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.parametrize(("asked", "told"), [("bf16", "bf16"), ("fp16", "bf16")])
def test_precisions_of_the_cpu(folder: Path, tmp_path: Path, asked: str, told: str) -> None:
    result = train(tmp_path, keras_config(folder, precision=asked, epochs=1))
    assert result.of(ModelReady)[0].precision == told
    assert any("fp16 needs a GPU" in event.text for event in result.of(Notice)) is (asked == "fp16")
    assert result.ended.outcome is Outcome.FINISHED


def test_a_gpu_that_is_asked_for_is_never_replaced_by_the_cpu(folder: Path, tmp_path: Path) -> None:
    from gputrain.engine.keras.library import tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(BadInput, match="device: cuda cannot be used"):
        train(tmp_path, keras_config(folder, device="cuda"))
    result = train(tmp_path, keras_config(folder, device="auto", max_steps=1))
    assert any("training on the CPU" in event.text for event in result.of(Notice))


@pytest.mark.parametrize(("model", "side"), [("mobilenet_v2", 32), ("resnet50_v2", 32), ("efficientnet_b0", 32)])
def test_networks_give_scores_for_pixels(folder: Path, model: str, side: int) -> None:
    from gputrain.engine.keras import device, networks
    from gputrain.engine.keras.library import keras

    config = keras_config(folder, model=model, image_size=side)
    device.set_up(config, lambda level, text: None)
    network = networks.build(config, 5)
    assert network(np.full((2, side, side, 3), 128, np.float32)).shape == (2, 5)
    norms = [layer for layer in networks._layers(network) if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert {layer.momentum for layer in norms} == {0.9}


@pytest.mark.parametrize("beside", [False, True])
def test_losses_come_in_order_and_time_is_never_counted_twice(beside: bool) -> None:
    from gputrain.engine.keras.library import tf
    from gputrain.engine.keras.loss_fetcher import LaunchedStep, LossFetcher

    fetcher = LossFetcher(beside=beside)
    began, at = time.perf_counter(), np.arange(2)
    for number in range(1, 9):
        asked = time.perf_counter()
        figures = tf.constant([number / 2, 1.0])
        fetcher.add(LaunchedStep(number, figures, at, asked, 0.001, number == 1))
    fetcher.drain()
    done = fetcher.take()
    fetcher.close()
    assert [step.number for step in done] == list(range(1, 9))
    assert [step.loss for step in done] == [number / 2 for number in range(1, 9)]
    assert sum(step.compute + step.gap for step in done) <= time.perf_counter() - began
    assert all(step.waited <= 0.001 for step in done)
    assert fetcher.take() == []


def test_what_goes_wrong_on_the_device_reaches_the_loop() -> None:
    from gputrain.engine.keras.loss_fetcher import LaunchedStep, LossFetcher

    class Broken:
        def numpy(self) -> Any:
            raise RuntimeError("the device is lost")

    fetcher = LossFetcher(beside=True)
    fetcher.add(LaunchedStep(1, Broken(), np.arange(1), 0.0, 0.0, True))
    with pytest.raises(RuntimeError, match="the device is lost"):
        fetcher.drain()
    fetcher.close()


def test_memory_that_runs_out_has_a_name() -> None:
    from gputrain.engine.keras import out_of_memory
    from gputrain.engine.keras.library import tf

    def short(text: str) -> None:
        with out_of_memory.out_of_memory_error():
            raise tf.errors.ResourceExhaustedError(None, None, text)

    with pytest.raises(out_of_memory.NoGpuMemoryError, match="smaller batch_size"):
        short("OOM when allocating tensor on /device:GPU:0 by allocator GPU_0_bfc")
    with pytest.raises(MemoryError):
        short("OOM when allocating tensor on /device:CPU:0 by allocator cpu")
