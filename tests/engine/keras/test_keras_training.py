"""Whole trainings of Keras on tiny folders of JPEG files: what they tell, stop, resume, and obey."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.keras.keras_tools import (
    Result,
    draw_images,
    keras_config,
    needs_tensorflow,
    own_environment,
    same_arrays,
    state_of,
    train,
)
from PIL import Image

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import (
    CheckpointSaved,
    DataReady,
    EpochEnded,
    LoaderStats,
    ModelReady,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    Steps,
    Tuned,
    Validated,
)
from gputrain.engine.events.commands import CheckpointCommand, PauseCommand, ResumeCommand, TuneCommand

pytestmark = needs_tensorflow
__all__ = ["own_environment"]

# Every random thing that there is, and all that a checkpoint must hold.
EVERYTHING: dict[str, Any] = {
    "epochs": 2,
    "optimizer": "adamw",
    "lr": 0.002,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "clip_grad_norm": 1.0,
    "schedule": "one_cycle",
    "warmup_epochs": 0.5,
    "checkpoint_steps": 2,
    "keep_last": 50,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # As large as validation has them: nothing is resized there.
    return draw_images(tmp_path_factory.mktemp("images"), side=36)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A run that nobody interrupted, with all its checkpoints."""
    directory = tmp_path_factory.mktemp("whole")
    return train(directory, keras_config(images, **EVERYTHING)), directory


def test_it_tells_what_a_run_of_torch_tells(whole: tuple[Result, Path]) -> None:
    result, directory = whole
    assert result.ended.outcome is Outcome.FINISHED
    assert result.ended.step == 12
    (data,) = result.of(DataReady)
    assert (data.train_images, data.val_images, data.class_count, data.batches_per_epoch) == (36, 18, 3, 6)
    (ready,) = result.of(ModelReady)
    assert (ready.total_steps, ready.start_step, ready.device, ready.precision) == (12, 0, "cpu", "fp32")
    assert ready.parameters == sum(state.size for name, state in weights(directory).items() if "moving" not in name)
    assert ready.framework.startswith("TensorFlow ")
    assert ready.torch_version == ""
    assert sum(event.window_steps for event in result.of(Steps)) == 12
    last = result.of(Steps)[-1]
    assert (last.step, last.images, last.epoch, last.epoch_step) == (12, 72, 1, 6)
    assert last.vram_peak is None
    for event in result.of(Steps):
        assert event.data_wait + event.compute + event.other == pytest.approx(event.window_seconds, rel=0.05)
    assert [event.epoch for event in result.of(EpochEnded)] == [0, 1]
    assert [event.epoch for event in result.of(Validated)] == [0, 1]
    assert sum(event.samples for event in result.of(LoaderStats)) >= 72
    assert [e.step for e in result.of(CheckpointSaved)] == [e.step for e in result.of(CheckpointSaved) if e.bytes > 0]
    phases = [event.phase for event in result.of(PhaseChanged)]
    for phase in (Phase.SCANNING_DATA, Phase.BUILDING, Phase.COMPILING, Phase.TRAINING, Phase.VALIDATING, Phase.SAVING):
        assert phase in phases
    assert (directory / "checkpoints" / "best.npz").exists()


def weights(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = state_of(directory)["model"]
    return found


def test_it_learns(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, keras_config(images, epochs=12, lr=0.05, weight_decay=0.0))
    losses = [event.train_loss for event in result.of(EpochEnded)]
    assert losses[-1] < losses[0] / 2
    assert max(event.metrics["accuracy"] for event in result.of(Validated)) > 0.6


def test_the_metrics_are_those_of_a_plain_computation(whole: tuple[Result, Path], images: Path) -> None:
    """Pillow's pixels, Keras' own prediction, NumPy's arithmetic, and the weights by their names."""
    from gputrain.engine.keras import device, networks

    result, directory = whole
    config = keras_config(images, **EVERYTHING)
    device.set_up(config, lambda level, text: None)
    network = networks.build(config, 3)
    saved = weights(directory)
    for variable in network.variables:
        variable.assign(saved[variable.path])
    pixels, labels = [], []
    for label, name in enumerate(("across", "down", "spots")):
        for path in sorted((images / "val" / name).iterdir()):
            with Image.open(path) as image:
                pixels.append(np.asarray(image)[2:34, 2:34])
            labels.append(label)
    scores = network.predict(np.stack(pixels).astype(np.float32), verbose=0).astype(np.float64)
    logarithms = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    last = result.of(Validated)[-1]
    assert last.images == len(labels) == 18
    assert last.metrics["accuracy"] == pytest.approx((scores.argmax(1) == labels).mean())
    assert last.metrics["loss"] == pytest.approx(-logarithms[np.arange(18), labels].mean(), rel=1e-4)
    assert "accuracy_top5" not in last.metrics


@pytest.mark.parametrize(("step", "changes"), [(2, {"num_workers": 0}), (8, {"num_workers": 3, "prefetch_factor": 1})])
def test_a_run_that_goes_on_is_the_same_to_the_bit(
    whole: tuple[Result, Path], images: Path, tmp_path: Path, step: int, changes: dict[str, Any]
) -> None:
    """From the midst of an epoch, with no workers and with others."""
    result, directory = whole
    start = checkpoint_index.find(directory / "checkpoints", str(step))
    source = str(directory / "checkpoints" / start.file)
    again = train(tmp_path, keras_config(images, **EVERYTHING | changes, resume_from=source))
    assert again.of(ModelReady)[0].start_step == step
    assert same_arrays(state_of(tmp_path), state_of(directory))
    assert [e.train_loss for e in again.of(EpochEnded)] == [e.train_loss for e in result.of(EpochEnded)][step // 6 :]
    assert [e.metrics for e in again.of(Validated)][-1] == [e.metrics for e in result.of(Validated)][-1]


def test_a_stop_saves_and_the_run_goes_on_in_its_own_directory(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    first = train(tmp_path, keras_config(images, **EVERYTHING), stop_at=5)
    assert (first.ended.outcome, first.ended.step) == (Outcome.STOPPED, 5)
    assert first.of(CheckpointSaved)[-1].kind == "final"
    second = train(tmp_path, keras_config(images, **EVERYTHING, resume_from=str(tmp_path)))
    assert second.ended.outcome is Outcome.FINISHED
    assert same_arrays(state_of(tmp_path), state_of(whole[1]))


def test_what_would_be_another_training_is_refused(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    for changes, said in (({"batch_size": 4}, "batch_size"), ({"width": 16}, "width")):
        config = keras_config(images, **EVERYTHING | changes, resume_from=str(whole[1]))
        with pytest.raises(BadInput, match=said):
            train(tmp_path, config)
    fewer = draw_images(tmp_path / "images", per_class=10, side=36)
    with pytest.raises(BadInput, match="the data had 36 training images and have 30"):
        train(tmp_path / "run", keras_config(fewer, **EVERYTHING, resume_from=str(whole[1])))


def test_a_damaged_checkpoint_is_passed_over_and_a_foreign_one_refused(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole[1] / "checkpoints", tmp_path / "checkpoints")
    newest = checkpoint_index.find(tmp_path / "checkpoints", "last")
    path = tmp_path / "checkpoints" / newest.file
    path.write_bytes(path.read_bytes()[:-1])
    result = train(tmp_path, keras_config(images, **EVERYTHING, resume_from=str(tmp_path)))
    assert any("is damaged" in event.text for event in result.of(Notice))
    assert result.of(ModelReady)[0].start_step == 10
    (tmp_path / "foreign.npz").write_bytes(b"no checkpoint")
    with pytest.raises(BadInput, match="is not a checkpoint"):
        train(tmp_path / "run", keras_config(images, resume_from=str(tmp_path / "foreign.npz")))


def test_weights_of_another_run_are_begun_with(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    source = whole[1] / "checkpoints" / checkpoint_index.find(whole[1] / "checkpoints", "last").file
    config = keras_config(images, **EVERYTHING | {"weights": str(source), "epochs": 1, "max_steps": 1, "lr": 1e-9})
    train(tmp_path, config)
    theirs = weights(whole[1])
    for name, value in weights(tmp_path).items():
        if "moving" not in name:
            assert np.allclose(value, theirs[name], atol=1e-6), name


def test_commands_are_obeyed_or_refused_with_a_reason(images: Path, tmp_path: Path) -> None:
    wish = TuneCommand(changes={"num_workers": 1}, sender="me")
    result = train(
        tmp_path, keras_config(images), commands=(wish, CheckpointCommand(), PauseCommand(), ResumeCommand())
    )
    (refused,) = result.of(Tuned)
    assert (refused.verdict, refused.sender, refused.changes) == ("refused", "me", {"num_workers": 1})
    assert "resume" in refused.text
    assert result.of(CheckpointSaved)[0].kind == "requested"
    assert result.ended.outcome is Outcome.FINISHED


def test_unreadable_images_are_replaced_always_by_the_same(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    (images / "train" / "down" / "3.jpg").write_bytes(b"")
    whole = io.BytesIO()
    Image.new("RGB", (64, 64)).save(whole, "jpeg")
    (images / "train" / "spots" / "5.jpg").write_bytes(whole.getvalue()[:300])
    (images / "val" / "down" / "1.jpg").write_bytes(b"\xff\xd8\xff nothing")
    runs = []
    for workers in (0, 2):
        directory = tmp_path / f"run{workers}"
        directory.mkdir()
        runs.append((train(directory, keras_config(images, num_workers=workers)), directory))
        listed = (directory / "bad_images.csv").read_text().splitlines()
        assert sorted(line.split(",")[0] for line in listed[1:]) == ["training", "training", "validation"]
    assert same_arrays(state_of(runs[0][1]), state_of(runs[1][1]))
    assert any("unreadable training images were replaced" in event.text for event in runs[0][0].of(Notice))
    with pytest.raises(BadInput, match="max_bad_images: "):
        train(tmp_path, keras_config(images, max_bad_images=0))


def test_what_tensorflow_cannot_read_is_refused_before_the_first_step(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    Image.new("RGB", (40, 40)).save(images / "train" / "down" / "90.tiff")
    with pytest.raises(BadInput, match=r"90\.tiff: TensorFlow reads"):
        train(tmp_path, keras_config(images))


def test_images_that_are_to_be_turned_are_told(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    with Image.open(images / "train" / "down" / "0.jpg") as image:
        exif = image.getexif()
        exif[274] = 6
        image.save(images / "train" / "down" / "0.jpg", exif=exif)
    result = train(tmp_path, keras_config(images, epochs=1, max_steps=1))
    assert any("Exif" in event.text for event in result.of(Notice))


def test_an_early_stop_says_why(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, keras_config(images, epochs=30, lr=1e-9, early_stop=2))
    assert result.ended.outcome is Outcome.FINISHED
    assert result.ended.reason.startswith("ended early: 2 validations in a row")


def test_a_loss_that_is_no_number_ends_the_run_and_names_images(images: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf) at step \d+, on .*\.jpg"):
        train(tmp_path, keras_config(images, lr=100, momentum=0.99, epochs=20, val_split=""))
