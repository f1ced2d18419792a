"""Whole Keras trainings on small folders of JPEG files: events, stop, resume, commands."""

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

# All random transforms, and everything that a checkpoint must contain.
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
    # In the size of validation: nothing is resized.
    return draw_images(tmp_path_factory.mktemp("images"), side=36)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """An uninterrupted run with all its checkpoints."""
    directory = tmp_path_factory.mktemp("whole")
    return train(directory, keras_config(images, **EVERYTHING)), directory


def test_a_run_reports_the_same_events_as_a_pytorch_run(whole: tuple[Result, Path]) -> None:
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


def test_the_model_learns(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, keras_config(images, epochs=12, lr=0.05, weight_decay=0.0))
    losses = [event.train_loss for event in result.of(EpochEnded)]
    assert losses[-1] < losses[0] / 2
    assert max(event.metrics["accuracy"] for event in result.of(Validated)) > 0.6


def test_metrics_equal_an_independent_computation(whole: tuple[Result, Path], images: Path) -> None:
    """With Pillow's pixels, Keras' predict, NumPy, and weights by name."""
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
def test_resume_is_bit_identical(
    whole: tuple[Result, Path], images: Path, tmp_path: Path, step: int, changes: dict[str, Any]
) -> None:
    """From the middle of an epoch, without workers and with more."""
    result, directory = whole
    start = checkpoint_index.find(directory / "checkpoints", str(step))
    source = str(directory / "checkpoints" / start.file)
    again = train(tmp_path, keras_config(images, **EVERYTHING | changes, resume_from=source))
    assert again.of(ModelReady)[0].start_step == step
    assert same_arrays(state_of(tmp_path), state_of(directory))
    assert [e.train_loss for e in again.of(EpochEnded)] == [e.train_loss for e in result.of(EpochEnded)][step // 6 :]
    assert [e.metrics for e in again.of(Validated)][-1] == [e.metrics for e in result.of(Validated)][-1]


def test_a_stop_saves_and_the_run_resumes_in_its_directory(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    first = train(tmp_path, keras_config(images, **EVERYTHING), stop_at=5)
    assert (first.ended.outcome, first.ended.step) == (Outcome.STOPPED, 5)
    assert first.of(CheckpointSaved)[-1].kind == "final"
    second = train(tmp_path, keras_config(images, **EVERYTHING, resume_from=str(tmp_path)))
    assert second.ended.outcome is Outcome.FINISHED
    assert same_arrays(state_of(tmp_path), state_of(whole[1]))


def test_resume_refuses_settings_of_another_training(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    for changes, said in (({"batch_size": 4}, "batch_size"), ({"width": 16}, "width")):
        config = keras_config(images, **EVERYTHING | changes, resume_from=str(whole[1]))
        with pytest.raises(BadInput, match=said):
            train(tmp_path, config)
    fewer = draw_images(tmp_path / "images", per_class=10, side=36)
    with pytest.raises(BadInput, match="the data had 36 training images and have 30"):
        train(tmp_path / "run", keras_config(fewer, **EVERYTHING, resume_from=str(whole[1])))


def test_a_damaged_checkpoint_is_skipped_and_a_foreign_one_refused(
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


def test_a_run_starts_from_the_weights_of_another(whole: tuple[Result, Path], images: Path, tmp_path: Path) -> None:
    source = whole[1] / "checkpoints" / checkpoint_index.find(whole[1] / "checkpoints", "last").file
    config = keras_config(images, **EVERYTHING | {"weights": str(source), "epochs": 1, "max_steps": 1, "lr": 1e-9})
    train(tmp_path, config)
    theirs = weights(whole[1])
    for name, value in weights(tmp_path).items():
        if "moving" not in name:
            assert np.allclose(value, theirs[name], atol=1e-6), name


def test_weights_that_differ_in_more_than_the_classifier_are_refused(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    source = whole[1] / "checkpoints" / checkpoint_index.find(whole[1] / "checkpoints", "last").file
    changes: dict[str, Any] = EVERYTHING | {"weights": str(source), "epochs": 1, "max_steps": 1}
    wider = changes | {"width": 16}
    with pytest.raises(BadInput, match=r"fit simple_cnn: \d+ variables of another shape \(stem/kernel, .* more\)"):
        train(tmp_path, keras_config(images, **wider))
    # Two classes instead of three: only the classifier differs.
    for split in ("train", "val"):
        for name in ("across", "down"):
            shutil.copytree(images / split / name, tmp_path / "two" / split / name)
    (tmp_path / "run").mkdir()
    result = train(tmp_path / "run", keras_config(tmp_path / "two", **changes))
    texts = [event.text for event in result.of(Notice) if event.text.startswith("weights: ")]
    assert len(texts) == 1
    assert "; 2 stay random" in texts[0]


def test_weights_strict_false_loads_what_fits_and_says_how_much_stays_random(
    whole: tuple[Result, Path], images: Path, tmp_path: Path
) -> None:
    source = whole[1] / "checkpoints" / checkpoint_index.find(whole[1] / "checkpoints", "last").file
    with np.load(source) as archive:
        kept = {name: archive[name] for name in archive.files if name != "model/stage2/kernel"}
    np.savez(tmp_path / "part.npz", **kept)
    changes: dict[str, Any] = EVERYTHING | {"weights": str(tmp_path / "part.npz"), "epochs": 1, "max_steps": 1}
    with pytest.raises(BadInput, match=r"1 variables missing in the file \(stage2/kernel\)"):
        train(tmp_path, keras_config(images, **changes))
    result = train(tmp_path, keras_config(images, **changes, weights_strict=False))
    (text,) = [event.text for event in result.of(Notice) if event.text.startswith("weights: ")]
    assert "; 1 stay random" in text


def test_commands_take_effect_or_are_refused_with_a_reason(images: Path, tmp_path: Path) -> None:
    wish = TuneCommand(changes={"num_workers": 1}, sender="me")
    result = train(
        tmp_path, keras_config(images), commands=(wish, CheckpointCommand(), PauseCommand(), ResumeCommand())
    )
    (refused,) = result.of(Tuned)
    assert (refused.verdict, refused.sender, refused.changes) == ("refused", "me", {"num_workers": 1})
    assert "resume" in refused.text
    assert result.of(CheckpointSaved)[0].kind == "requested"
    assert result.ended.outcome is Outcome.FINISHED


def test_unreadable_images_are_always_replaced_by_the_same_image(tmp_path: Path) -> None:
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


def test_other_file_types_are_read_as_by_the_pytorch_engine(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    for suffix in ("tiff", "ppm", "tga", "jp2"):
        Image.new("RGB", (40, 40)).save(images / "train" / "down" / f"90.{suffix}")
    (images / "train" / "down" / "91.tiff").write_bytes(b"II*\0")
    result = train(tmp_path, keras_config(images))
    listed = (tmp_path / "bad_images.csv").read_text().splitlines()
    assert [line.split(",")[1].rpartition("/")[2] for line in listed[1:]] == ["91.tiff"]
    assert result.ended.outcome is Outcome.FINISHED


def test_a_run_on_palette_bmp_and_transparent_webp_learns_their_colours(tmp_path: Path) -> None:
    """Red against blue: palette indices instead of colours would leave the accuracy at 50 %."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for name, colour in (("blue", (20, 30, 220)), ("red", (220, 30, 20))):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.array(colour) + rng.integers(-20, 21, (40, 40, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                if number % 2:
                    image.quantize(16).save(folder / f"{number}.bmp")
                else:
                    image.putalpha(128)
                    image.save(folder / f"{number}.webp", lossless=True)
    result = train(tmp_path, keras_config(tmp_path / "images", epochs=4, lr=0.05))
    assert max(event.metrics["accuracy"] for event in result.of(Validated)) == 1.0
    assert not [event.text for event in result.of(Notice) if "unreadable" in event.text]


def test_an_early_stop_has_a_reason(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, keras_config(images, epochs=30, lr=1e-9, early_stop=2))
    assert result.ended.outcome is Outcome.FINISHED
    assert result.ended.reason.startswith("ended early: 2 validations in a row")


def test_a_nan_loss_ends_the_run_and_names_images(images: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the loss is (nan|inf) at step \d+, on .*\.jpg"):
        train(tmp_path, keras_config(images, lr=100, momentum=0.99, epochs=20, val_split=""))
