"""The engine as a setting: what of the others goes with Keras, what is said without TensorFlow, what plans foretell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.images import dark_and_light
from fakes.plans import CPU, gpu, note, plan_of, value

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import engine_choice, keras_compatibility, settings
from gputrain.engine.configuration.resume_changes import check_changes
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.estimates import calibration
from gputrain.engine.jobs.bench_job import measure_speed
from gputrain.engine.jobs.calibration_job import calibrate
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.launching.launch import PlanRecord
from gputrain.engine.planning import preflight
from gputrain.engine.runs import run_directory
from gputrain.tui.actions import run_check
from gputrain.tui.cli import main

VALUES = settings.flatten(RunConfig())
KERAS = {**VALUES, "engine": "keras", "model": "mobilenet_v2"}


@pytest.fixture
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if none of its distributions were installed."""
    monkeypatch.setattr(engine_choice, "_DISTRIBUTIONS", ("gputrain-has-no-such-distribution",))


def test_every_setting_is_used_replaced_or_refused() -> None:
    """A new setting has to be thought of here."""
    handled = {*keras_compatibility.REPLACED, *keras_compatibility._OFF}
    used = {
        *("recipe", "profile", "preset", "name", "engine", "device", "seed", "epochs", "max_steps", "resume_from"),
        *("dataset", "data_dir", "train_split", "val_split", "image_size", "val_resize", "augment", "crop_min_scale"),
        *("batch_size", "val_batch_size", "num_workers", "prefetch_factor", "max_bad_images", "model", "weights"),
        *("weights_strict", "interpolation", "crop_mode"),
        *("width", "optimizer", "lr", "lr_batch_size", "momentum", "weight_decay", "schedule", "warmup_epochs"),
        *("label_smoothing", "clip_grad_norm", "precision", "tf32", "cudnn_benchmark", "compile", "value_range"),
        *("checkpoint_epochs", "checkpoint_steps", "keep_last", "async_checkpoints", "auto_resume"),
        *("validate_epochs", "early_stop", "sample_seconds", "resources_csv", "hang_seconds", "loggers", "alerts"),
        *("cost_per_hour", "price_per_kwh"),
    }
    # Parts of what is refused or off: without it they have no effect in torch, either.
    parts = {
        *("custom", "code_dir", "val_share", "clip_frames", "progressive_epochs", "randaugment_ops"),
        *("randaugment_magnitude", "cache_form", "cache_resolution", "cache_gib"),
        *("image_key", "label_key", "shuffle", "shuffle_window", "remote_cache_gib"),
        # Of several devices.
        *("global_batch_size", "gradient_compression", "sync_batchnorm", "sharding", "rank_timeout", "max_restarts"),
        *("gpu_bandwidth", "network_bandwidth", "bucket_mib"),
        *("min_nodes", "node_timeout", "master_addr", "remote_python"),
    }
    assert handled | used | parts == set(VALUES)
    assert not handled & used


def test_unsupported_training_settings_are_refused() -> None:
    assert list(keras_compatibility.refusals(KERAS)) == []
    for name, other in {
        "dataset": "cifar10",
        "mixup": 0.2,
        "ema_decay": 0.9,
        "accumulation_steps": 2,
        "nonfinite_loss": "skip",
        "auto_augment": "randaugment",
        "optimizer": "lamb",
    }.items():
        (said,) = keras_compatibility.refusals({**KERAS, name: other})
        assert said.startswith(f"{name}: ")
        assert "engine=torch" in said


def test_unsupported_speed_settings_are_replaced_with_a_note() -> None:
    """Without a word where nobody asked; what a file asked for is told, what a person asked for warned of."""
    plan = plan_of(CPU, engine="keras", cache="ram", gradient_checkpointing=True)
    assert any(text.startswith("cache: engine=keras has no image cache") for text in plan.adjustments)
    assert any(text.startswith("gradient_checkpointing: ") for text in plan.adjustments)
    assert value(plan, "cache") == "none"
    assert value(plan, "fused_optimizer") == "false"
    assert "engine=keras" in note(plan, "fused_optimizer")
    own = plan_of(CPU, own=True, engine="keras", channels_last=False, loader="processes")
    assert any(text.startswith("channels_last: ") for text in own.warnings)
    assert any(text.startswith("loader: ") for text in own.warnings)
    assert not plan_of(CPU, engine="torch", cache="ram", cache_gib=0.1).adjustments


def test_keras_plans_have_no_estimates_of_torch() -> None:
    torchs, ours = (plan_of(gpu(), engine=engine, model="mobilenet_v2") for engine in ("torch", "keras"))
    assert torchs.vram is not None
    assert torchs.vram.total
    assert ours.vram is not None
    assert ours.vram.total is None
    facts = dict(ours.facts)
    assert facts["VRAM"] == "unknown: TensorFlow's memory is not in the table of models"
    assert facts["time"].startswith("unknown")
    assert "RAM buffer as float32" not in facts
    assert any(part.note == "TensorFlow and its libraries" for part in ours.ram.parts)
    assert value(ours, "loader") == "auto"
    assert engine_choice.INSTALL_CUDA in note(ours, "engine")


def test_a_calibration_of_torch_is_not_used_for_keras() -> None:
    assert "engine" not in calibration.signature(VALUES)
    assert calibration.signature(KERAS)["engine"] == "keras"


def test_the_check_advises_no_calibration() -> None:
    lines = run_check._run_lines(plan_of(CPU, engine="keras", model="mobilenet_v2", dataset="demo"))
    (forecast,) = [line for line in lines if line.title == "forecast"]
    assert "only engine=torch can be calibrated" in forecast.text
    assert forecast.commands == ()


def test_models_and_weights_are_keras_own(tmp_path: Path) -> None:
    assert preflight._model(KERAS) == ""
    assert "did you mean 'mobilenet_v2'" in preflight._model({**KERAS, "model": "mobilenet_v3"})
    assert "engine=keras has no 'timm/x'" in preflight._model({**KERAS, "model": "timm/x"})
    assert preflight._weights({**KERAS, "weights": "DEFAULT"}) == ""
    assert "no file 'nowhere'" in preflight._weights({**KERAS, "weights": "nowhere"})
    assert "no file" in preflight._weights({**KERAS, "model": "simple_cnn", "weights": "DEFAULT"})
    (tmp_path / "w.pt").touch()
    assert "checkpoints of its runs (*.npz)" in preflight._weights({**KERAS, "weights": str(tmp_path / "w.pt")})


def test_a_run_cannot_resume_with_another_engine() -> None:
    with pytest.raises(BadInput, match="engine: was keras and is torch"):
        check_changes(KERAS, {**KERAS, "engine": "torch"})
    assert check_changes({"model": "simple_cnn"}, {"model": "simple_cnn", "engine": "torch"}) == []


@pytest.mark.usefixtures("no_tensorflow")
def test_without_tensorflow_nothing_starts_and_the_remedy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = dark_and_light(tmp_path / "images", 4)
    arguments = ["train", "--recipe", "mobilenet-v2-keras", "--data", str(images)]
    for more in ([], ["--dry-run"], ["--force"]):
        assert main.main([*arguments, *more, "--plain"]) == 2
        printed = capsys.readouterr()
        assert "pip install 'gputrain-tui[tensorflow]'" in printed.out + printed.err
        assert "Traceback" not in printed.err
    assert run_directory.list_runs() == []
    config = settings.build({"engine": "keras", "data_dir": str(images), "dataset": "imagefolder"})
    with pytest.raises(BadInput, match="needs TensorFlow"):
        launch.launch(config)
    run = run_directory.create("old")
    launch.write_settings(run, config, PlanRecord())
    with pytest.raises(BadInput, match="needs TensorFlow"):
        resume_run.resume(run, resume_run.plan_from_run(run, {}, CPU))


@pytest.mark.usefixtures("no_tensorflow")
def test_torch_needs_no_tensorflow() -> None:
    engine_choice.require(RunConfig())
    assert preflight.preflight_problems(VALUES) == ()


def told(_text: str) -> None:
    """Nothing is."""


@pytest.mark.parametrize("measure", [measure_speed, lambda config, tell: calibrate(config, CPU, tell=tell)])
def test_torch_measurements_refuse_keras(measure: Any) -> None:
    with pytest.raises(BadInput, match="needs engine=torch, but this is engine=keras"):
        measure(settings.build({"engine": "keras"}), told)
