"""Messages about GPUs that can no longer be read."""

from __future__ import annotations

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.monitor.gpus.gpu_health import GpuHealth
from gputrain.engine.monitor.gpus.gpu_threads import NOT_YET


def messages(health: GpuHealth, *errors: str, gpu_error: str = "") -> list[str]:
    gpus = tuple(GpuSample(index=at, name="RTX 3090", error=error) for at, error in enumerate(errors))
    return [text for _, text in health.take(HardwareSample(interval=1.0, gpus=gpus, gpu_error=gpu_error))]


def test_each_loss_and_return_is_reported_once() -> None:
    health = GpuHealth()
    assert messages(health, "", "") == []
    assert messages(health, "no answer for 2 s", "") == ["GPU 0 (RTX 3090) cannot be read: no answer for 2 s"]
    assert messages(health, "no answer for 3 s", "lost") == ["GPU 1 (RTX 3090) cannot be read: lost"]
    assert messages(health, "", "lost") == ["GPU 0 (RTX 3090) can be read again"]
    assert messages(health, "", "") == ["GPU 1 (RTX 3090) can be read again"]


def test_slow_start_and_no_gpus_are_not_a_loss() -> None:
    health = GpuHealth()
    assert messages(health, NOT_YET, gpu_error="") == []
    assert messages(health, "") == []
    assert messages(health, gpu_error=NOT_YET) == []
    assert messages(GpuHealth(), gpu_error="no NVIDIA driver") == []


def test_unloaded_driver_reports_all_gpus() -> None:
    health = GpuHealth()
    messages(health, "", "")
    gone = [f"GPU {index} cannot be read: the NVIDIA driver is not loaded" for index in (0, 1)]
    assert messages(health, gpu_error="the NVIDIA driver is not loaded") == gone
    assert messages(health, gpu_error="the NVIDIA driver is not loaded") == []
    assert messages(health, "", "") == [f"GPU {index} (RTX 3090) can be read again" for index in (0, 1)]
