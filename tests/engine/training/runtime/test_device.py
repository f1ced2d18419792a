"""Choice of device: a run on the CPU of a machine with a GPU is reported."""

from __future__ import annotations

import msgspec
import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.hardware.machine import GpuInfo, Machine, inspect_machine
from gputrain.engine.hardware.torch_build import TorchBuild
from gputrain.engine.training.runtime import device

CARD = GpuInfo(index=0, uuid="GPU-1", name="Some GPU", memory=24 << 30, capability=(8, 6))
CPU_ONLY = TorchBuild(version="2.15.0+cpu", cuda="")


@pytest.mark.parametrize(
    ("gpus", "build", "level", "words"),
    [
        ((), None, "warning", "no NVIDIA driver"),
        ((CARD,), CPU_ONLY, "error", "torch 2.15.0+cpu is built for the CPU only, but the machine has Some GPU"),
        ((CARD,), None, "error", "finds no usable GPU"),
    ],
)
def test_auto_reports_the_cpu_and_cuda_refuses_it(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[GpuInfo, ...], build: TorchBuild | None, level: str, words: str
) -> None:
    here: Machine = msgspec.structs.replace(
        inspect_machine(), gpus=gpus, torch=build, gpu_error="" if gpus else "no NVIDIA driver"
    )
    monkeypatch.setattr(device, "inspect_machine", lambda: here)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told: list[tuple[str, str]] = []
    compute = device.set_up(settings.build({"device": "auto"}), lambda *notice: told.append(notice))
    assert compute.device.type == "cpu"
    assert [(found, words in text) for found, text in told] == [(level, True)]
    with pytest.raises(BadInput, match="device: cuda cannot be used") as refused:
        device.set_up(settings.build({"device": "cuda"}), lambda *notice: told.append(notice))
    assert words in str(refused.value)


def test_a_requested_cpu_is_not_reported() -> None:
    told: list[tuple[str, str]] = []
    device.set_up(settings.build({"device": "cpu"}), lambda *notice: told.append(notice))
    assert told == []
