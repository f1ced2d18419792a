"""System check of the GPUs, through the real NVML binding against the stand-in library."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from fakes.nvml import GIB, RTX_3090, NvmlStandIn

from gputrain.engine.check.findings import Line, advice

ASK = """
import os
import msgspec
from gputrain.engine.check.gpu_check import gpu_lines, read_gpus
from gputrain.engine.hardware.machine import inspect_machine
machine = inspect_machine()
requested = bool(os.environ.get("CPU_REQUESTED"))
print(msgspec.json.encode(gpu_lines(read_gpus(machine), machine, cpu_requested=requested)).decode())
"""
HEALTHY = {
    **RTX_3090,
    "utilization": 0,
    "memory_used": GIB // 2,
    "power_limit_max": 366_000,
    "persistence": 1,
    "compute_mode": 0,
    "pcie_generation_max": 4,
    "pcie_width_max": 16,
}


def findings(stand_in: NvmlStandIn, **env: str) -> list[Line]:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **stand_in.env, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=list[Line])


def test_healthy_gpu_gets_only_the_lock_clocks_command(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1, HEALTHY)
    lines = findings(nvml_stand_in)
    assert [line.text for line in lines] == [
        "NVIDIA GeForce RTX 3090, 24 GiB, 512 MiB in use, compute capability 8.6",
        "280 W now, limit 350 W, 67 °C, clock up to 2100 MHz",
        "PCIe 4 ×16 of 4 ×16",
    ]
    assert {line.level for line in lines} == {"ok"}
    assert [line.commands for line in lines] == [(), ("sudo nvidia-smi -i 0 -lgc 2100",), ()]


@pytest.mark.parametrize(
    ("change", "level", "words", "command"),
    [
        ({"power_limit": 200_000}, "note", "limit 200 W of 366 W possible", "sudo nvidia-smi -i 0 -pl 366"),
        ({"persistence": 0}, "note", "persistence mode is off", "sudo nvidia-smi -i 0 -pm 1"),
        ({"compute_mode": 2}, "problem", "no program may use this GPU", "sudo nvidia-smi -i 0 -c DEFAULT"),
        ({"pcie_width": 4}, "warning", "PCIe 4 ×4 of 4 ×16: fewer lanes", ""),
        ({"pcie_generation": 1}, "ok", "PCIe 1 ×16 of 4 ×16 (idle; it rises under load)", ""),
        ({"processes": f"4194303:{9 * GIB}"}, "warning", "also used by", ""),
        ({"processes": "4194303:1000000"}, "note", "also used by", ""),
        ({"utilization": 90}, "warning", "90 % busy with processes that are not visible here", ""),
        ({"error": 15}, "warning", "lost: it has fallen off the bus", ""),
    ],
)
def test_gpu_findings_by_table(
    nvml_stand_in: NvmlStandIn, change: dict[str, object], level: str, words: str, command: str
) -> None:
    nvml_stand_in.gpus(1, {**HEALTHY, **change})
    lines = findings(nvml_stand_in)
    found = next(line for line in lines if words in line.text)
    assert found.level == level
    assert command in "\n".join(found.commands)


def test_equal_findings_of_several_gpus_are_merged(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(8, {**HEALTHY, "persistence": 0})
    nvml_stand_in.set({"gpu5.persistence": 1})
    lines = findings(nvml_stand_in)
    (found,) = (line for line in lines if "persistence" in line.text)
    assert found.title == "GPUs 0, 1, 2, 3, 4, 6, 7"
    assert [line.title for line in lines if "PCIe" in line.text] == ["GPUs 0 to 7"]
    assert "sudo nvidia-smi -i 0,1,2,3,4,6,7 -pm 1" in advice(lines)
    assert len(advice(lines)) == 2


def test_hidden_gpu_is_marked(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2, HEALTHY)
    names = [line for line in findings(nvml_stand_in, CUDA_VISIBLE_DEVICES="1") if "RTX 3090" in line.text]
    assert ["hidden by CUDA_VISIBLE_DEVICES" in line.text for line in names] == [True, False]
    assert not [line for line in findings(nvml_stand_in, CUDA_VISIBLE_DEVICES="1") if line.title == "GPU 0"][1:]


@pytest.mark.parametrize(
    ("script", "env", "level"),
    [
        ({"error.nvmlInitWithFlags": 18}, {}, "problem"),
        ({"error.nvmlInitWithFlags": 18}, {"CPU_REQUESTED": "1"}, "note"),
        ({"gpus": 0}, {}, "problem"),
        ({}, {"CUDA_VISIBLE_DEVICES": ""}, "warning"),
        ({}, {"CUDA_VISIBLE_DEVICES": "", "CPU_REQUESTED": "1"}, "note"),
    ],
)
def test_unusable_gpu_is_a_problem_unless_the_cpu_is_requested(
    nvml_stand_in: NvmlStandIn, script: dict[str, object], env: dict[str, str], level: str
) -> None:
    nvml_stand_in.gpus(1, HEALTHY)
    nvml_stand_in.set(script)
    last = findings(nvml_stand_in, **env)[-1]
    assert last.level == level
    assert "a run would train on the CPU" in last.text


def test_values_the_driver_does_not_report_are_unknown(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1, {"name": "Some GPU"})
    texts = [line.text for line in findings(nvml_stand_in)]
    assert texts == ["Some GPU, memory unknown", "power unknown, power limit unknown", "PCIe link unknown"]
