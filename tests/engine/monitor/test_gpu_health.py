"""What is told of GPUs that can no longer be read."""

from __future__ import annotations

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.monitor.gpus.gpu_health import GpuHealth
from gputrain.engine.monitor.gpus.gpu_threads import NOT_YET


def told(health: GpuHealth, *errors: str, gpu_error: str = "") -> list[str]:
    gpus = tuple(GpuSample(index=at, name="RTX 3090", error=error) for at, error in enumerate(errors))
    return [text for _, text in health.take(HardwareSample(interval=1.0, gpus=gpus, gpu_error=gpu_error))]


def test_each_loss_and_return_is_told_once() -> None:
    health = GpuHealth()
    assert told(health, "", "") == []
    assert told(health, "no answer for 2 s", "") == ["GPU 0 (RTX 3090) cannot be read: no answer for 2 s"]
    assert told(health, "no answer for 3 s", "lost") == ["GPU 1 (RTX 3090) cannot be read: lost"]
    assert told(health, "", "lost") == ["GPU 0 (RTX 3090) can be read again"]
    assert told(health, "", "") == ["GPU 1 (RTX 3090) can be read again"]


def test_a_slow_start_and_a_machine_without_gpus_are_no_loss() -> None:
    health = GpuHealth()
    assert told(health, NOT_YET, gpu_error="") == []
    assert told(health, "") == []
    assert told(health, gpu_error=NOT_YET) == []
    assert told(GpuHealth(), gpu_error="no NVIDIA driver") == []


def test_a_driver_that_goes_takes_all_with_it() -> None:
    health = GpuHealth()
    told(health, "", "")
    gone = [f"GPU {index} cannot be read: the NVIDIA driver is not loaded" for index in (0, 1)]
    assert told(health, gpu_error="the NVIDIA driver is not loaded") == gone
    assert told(health, gpu_error="the NVIDIA driver is not loaded") == []
    assert told(health, "", "") == [f"GPU {index} (RTX 3090) can be read again" for index in (0, 1)]
