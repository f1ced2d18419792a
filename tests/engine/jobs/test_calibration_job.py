"""A real, short calibration in its child process, and children that fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fakes.images import SIDE, dark_and_light

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.calibration import signature
from gputrain.engine.estimates.throughput_forecast import forecast
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs.calibration_job import calibrate

SMALL = {"image_size": 32, "val_resize": 32, "batch_size": 4, "width": 4, "precision": "fp32", "num_workers": 1}


def config(data: Path, **changes: object) -> RunConfig:
    return settings.build({"dataset": "imagefolder", "data_dir": str(data), **SMALL, **changes})


@pytest.mark.long
def test_all_parts_are_measured_on_real_images(tmp_path: Path) -> None:
    data = dark_and_light(tmp_path, 6)
    machine, wanted, messages = inspect_machine(), config(data, accumulation_steps=2, cache="ram"), list[str]()
    made = calibrate(wanted, machine, seconds=2.0, tell=messages.append)
    assert (made.train_images, made.val_images) == (12, 12)
    assert [step.batch_size for step in made.steps] == [2, 4]
    assert all(step.seconds > 0 and step.cpu_seconds > 0 for step in made.steps)
    assert all(step.peak_bytes is not None and step.peak_bytes > 1 << 26 for step in made.steps)
    assert made.decode_per_core is not None
    assert made.validation is not None
    assert made.disk_rate is not None
    assert min(made.supply, made.decode_per_core, made.together, made.validation, made.disk_rate) > 0
    assert made.together <= 1.5 * made.supply
    sizes = [file.stat().st_size for file in data.glob("train/*/*")]
    assert made.file_bytes == pytest.approx(sum(sizes), rel=0.2)
    assert made.others is not None
    assert made.others >= 0
    assert [cost.form for cost in made.cached] == ["none", "raw", "jpeg"]
    assert all(cost.per_core > 0 for cost in made.cached)
    plain, raw, _ = (cost.bytes_per_image for cost in made.cached)
    assert plain == pytest.approx(sum(sizes) / len(sizes))
    assert raw == 3 * SIDE**2  # smaller than the 43 pixels that crops would need
    assert made.settings == signature(flatten(wanted))
    assert made.machine == calibration_store.machine_key(machine)
    assert {"reading files", "measuring the workers", "measuring the step", "measuring validation"} <= set(messages)
    values = flatten(wanted) | {"cache": "none"}
    predicted = forecast(made, values, memory=None, ram_available=machine.memory_available)
    assert predicted.rate == pytest.approx(made.together)


def test_unusable_data_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(BadInput, match="train"):
        calibrate(config(tmp_path), inspect_machine(), seconds=1.0, tell=lambda _text: None)


@pytest.mark.long
def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\nimport time; time.sleep(100)"
    )
    code = (
        "from gputrain.engine.configuration import settings;"
        "from gputrain.engine.jobs.calibration_job import calibrate;"
        "from gputrain.engine.hardware.machine import inspect_machine;"
        "calibrate(settings.build({}), inspect_machine(), seconds=1.0, tell=lambda text: print(text, flush=True))"
    )
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    ) as asker:
        pid = tmp_path / "pid"
        while not (pid.exists() and pid.read_text()):
            assert asker.poll() is None
            time.sleep(0.02)
        child = psutil.Process(int(pid.read_text()))
        asker.kill()
    child.wait(60)


@pytest.mark.parametrize(
    ("code", "words"), [("raise OSError('no libcudart')", "no libcudart"), ("import os; os._exit(7)", "exit code 7")]
)
def test_child_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    (tmp_path / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    with pytest.raises(RuntimeError, match=words):
        calibrate(settings.build({}), inspect_machine(), seconds=1.0, tell=lambda _text: None)
