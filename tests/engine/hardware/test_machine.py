"""The machine: GPUs through the real NVML binding against the stand-in, cores and memory from the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from fakes.nvml import GIB, RTX_3090, NvmlStandIn

from gputrain.engine.hardware.machine import GpuInfo, Machine, host_memory, inspect_machine

ASK = """
import sys, msgspec
from gputrain.engine.hardware.machine import inspect_machine
print(msgspec.json.encode(inspect_machine()).decode())
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def ask(env: dict[str, str], code: str = ASK) -> tuple[Machine, set[str]]:
    """The machine as a process with `env` sees it, and the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Machine), set(done.stderr.split())


def test_cores_and_memory_agree_with_psutil() -> None:
    machine = inspect_machine()
    assert machine.memory_total == psutil.virtual_memory().total
    assert 0 < machine.memory_available <= machine.memory_limit <= machine.memory_total
    assert 0 < machine.usable_cores <= len(os.sched_getaffinity(0)) <= machine.host_cores == os.cpu_count()
    assert machine.hostname
    assert machine.cpu_model
    assert machine.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_available_memory_from_meminfo() -> None:
    total, available = host_memory()
    assert total == psutil.virtual_memory().total
    assert available == pytest.approx(psutil.virtual_memory().available, abs=256 << 20)


def test_affinity_limits_the_cores() -> None:
    core = min(os.sched_getaffinity(0))
    machine, _ = ask({}, f"import os; os.sched_setaffinity(0, {{{core}}})\n{ASK}")
    assert machine.usable_cores <= 1.0
    assert machine.host_cores == os.cpu_count()


def test_pynvml_is_not_imported_without_a_driver(tmp_path: Path) -> None:
    # A file that is not a library hides any real one.
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")
    machine, modules = ask({"LD_LIBRARY_PATH": str(tmp_path)})
    assert machine.gpus == ()
    assert machine.gpu_error == "no NVIDIA driver"
    assert not {"torch", "pynvml", "psutil", "textual"} & modules


def test_gpus_and_versions_of_the_driver(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2)
    machine, _ = ask(nvml_stand_in.env)
    assert machine.gpus[0] == GpuInfo(
        index=0,
        uuid="GPU-00000000-1111-2222-3333-444444444444",
        name=str(RTX_3090["name"]),
        memory=24 * GIB,
        memory_used=12 * GIB,
        capability=(8, 6),
    )
    assert [gpu.index for gpu in machine.gpus] == [0, 1]
    assert (machine.driver, machine.cuda_driver, machine.gpu_error) == ("580.95.05", "13.0", "")


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-00000002", [2]),
        ("GPU-0000000", []),  # a prefix of all of them
        ("0,7,1", [0]),  # an invalid entry ends the list
        ("-1", []),
        ("", []),
        ("1,1", []),
        ("nonsense", []),
    ],
)
def test_cuda_visible_devices_selects_gpus(nvml_stand_in: NvmlStandIn, wanted: str, indices: list[int]) -> None:
    nvml_stand_in.gpus(3)
    machine, _ = ask({**nvml_stand_in.env, "CUDA_VISIBLE_DEVICES": wanted})
    assert [gpu.index for gpu in machine.gpus] == indices
    assert bool(machine.gpu_error) == (not indices)
    if not indices:
        assert "hides all 3 GPUs" in machine.gpu_error


def test_process_sees_one_mig_instance(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.mig(1, instances=2)
    machine, _ = ask(nvml_stand_in.env)
    (first,) = machine.gpus
    assert (first.index, first.mig, first.memory, first.capability) == (1, True, 10 * GIB, (8, 6))
    whole, _ = ask({**nvml_stand_in.env, "CUDA_VISIBLE_DEVICES": "0"})
    assert [(gpu.index, gpu.mig) for gpu in whole.gpus] == [(0, False)]
    second = first.uuid.replace("0000-", "0001-")
    chosen, _ = ask({**nvml_stand_in.env, "CUDA_VISIBLE_DEVICES": second})
    assert [gpu.uuid for gpu in chosen.gpus] == [second]


def test_mig_mode_without_instances_is_reported(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.mig(0, instances=0)
    machine, _ = ask(nvml_stand_in.env)
    assert machine.gpus == ()
    assert machine.gpu_error == "MIG mode is on, but there are no instances"


def test_lost_gpu_is_reported_beside_the_others(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.set({"gpu0.error": 15})
    machine, _ = ask(nvml_stand_in.env)
    assert [gpu.index for gpu in machine.gpus] == [1]
    assert machine.gpu_error.startswith("GPU 0: lost")


def test_values_the_driver_does_not_report_are_none(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1, {"name": "Bare"})
    machine, _ = ask(nvml_stand_in.env)
    assert (machine.gpus[0].memory, machine.gpus[0].capability) == (None, None)


@pytest.mark.parametrize(("code", "words"), [(9, "driver is not loaded"), (18, "different versions"), (77, "error 77")])
def test_driver_errors_in_words(nvml_stand_in: NvmlStandIn, code: int, words: str) -> None:
    nvml_stand_in.set({"error.nvmlInitWithFlags": code})
    machine, _ = ask(nvml_stand_in.env)
    assert words in machine.gpu_error


def test_hanging_driver_does_not_block(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"delay.nvmlDeviceGetCount_v2": 600})
    hurried = ASK.replace(
        "import inspect_machine", "import inspect_machine\nimport gputrain.engine.hardware.machine as m"
    )
    machine, _ = ask(nvml_stand_in.env, hurried.replace("print(ms", "m.NVML_SECONDS = 0.5\nprint(ms"))
    assert machine.gpus == ()
    assert machine.gpu_error == "NVML does not answer (waited 0.5 s)"
