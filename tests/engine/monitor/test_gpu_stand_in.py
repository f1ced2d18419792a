"""GPU samples through the real nvidia-ml-py binding, against a C library with scripted values."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.nvml import GIB, RTX_3090, NvmlStandIn
from fakes.nvml.probe import Probe

from gputrain.engine.events import GpuSample, HardwareSample


@pytest.fixture
def probe(nvml_stand_in: NvmlStandIn) -> Iterator[Probe]:
    started = Probe(nvml_stand_in)
    yield started
    assert started.close() == 0


def only(sample: HardwareSample) -> GpuSample:
    (gpu,) = sample.gpus
    return gpu


def test_all_values_of_one_gpu_in_sample_units(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    gpu = only(probe.sample())
    assert gpu.name == RTX_3090["name"]
    assert gpu.uuid == "GPU-00000000-1111-2222-3333-444444444444"
    assert (gpu.utilization, gpu.memory_utilization) == (71.0, 40.0)
    assert (gpu.memory_used, gpu.memory_total) == (12 * GIB, 24 * GIB)
    assert (gpu.power, gpu.power_limit) == (280.5, 350.0)
    assert (gpu.temperature, gpu.temperature_slowdown, gpu.fan) == (67.0, 95.0, 55.0)
    assert (gpu.sm_clock, gpu.sm_clock_max) == (1695, 2100)
    assert (gpu.memory_clock, gpu.memory_clock_max) == (9501, 9751)
    assert (gpu.pcie_generation, gpu.pcie_width) == (gpu.pcie_generation_max, gpu.pcie_width_max) == (4, 16)
    assert (gpu.pcie_rx, gpu.pcie_tx) == (1.2e9, 3e8)
    assert (gpu.encoder, gpu.decoder) == (0.0, 3.0)
    assert (gpu.throttle, gpu.error, gpu.cuda_index) == ((), "", 0)


def test_energy_is_the_drivers_counter(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"gpu0.energy": 5_000_000_001_500})
    assert only(probe.sample()).energy == pytest.approx(5_000_000_001.5)


def test_missing_sensors_are_none_not_zero(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1, {"name": "Bare"})
    gpu = only(probe.sample())
    assert gpu.error == ""
    for field in (
        "utilization",
        "memory_used",
        "memory_total",
        "power",
        "temperature",
        "fan",
        "sm_clock",
        "pcie_rx",
        "energy",
    ):
        assert getattr(gpu, field) is None, field
    for field in (
        "ecc_corrected",
        "ecc_uncorrected",
        "nvlink_rx",
        "sm_activity",
        "encoder",
        "memory_temperature",
        "energy",
    ):
        assert getattr(gpu, field) is None, field
    assert gpu.energy is None


def test_values_follow_the_driver(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    assert only(probe.sample()).utilization == 71.0
    nvml_stand_in.set({"gpu0.utilization": 99, "gpu0.error.nvmlDeviceGetPowerUsage": 3})
    gpu = only(probe.until("s.gpus[0].utilization", 99.0))
    assert gpu.power is None
    assert gpu.power_limit == 350.0


@pytest.mark.parametrize("count", [2, 8])
def test_several_gpus_in_their_order(nvml_stand_in: NvmlStandIn, probe: Probe, count: int) -> None:
    nvml_stand_in.gpus(count)
    nvml_stand_in.set({f"gpu{index}.utilization": index for index in range(count)})
    sample = probe.sample()
    assert [(gpu.index, gpu.utilization) for gpu in sample.gpus] == [(i, float(i)) for i in range(count)]


def test_pcie_traffic_is_measured_on_one_gpu_at_a_time(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    assert [gpu.pcie_rx for gpu in probe.sample().gpus] == [1.2e9, None]
    # The next sample measures the second GPU; the first keeps its value.
    assert [gpu.pcie_rx for gpu in probe.sample().gpus] == [1.2e9, 1.2e9]


def test_no_gpu_and_no_driver_are_different_errors(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    sample = probe.sample()
    assert (sample.gpus, sample.gpu_error) == ((), "the NVIDIA driver finds no GPU")
    nvml_stand_in.set({"error.nvmlInitWithFlags": 18})
    other = Probe(nvml_stand_in)
    assert "different versions" in other.sample().gpu_error
    assert other.close() == 0


def test_lost_gpu_is_reported_and_may_come_back(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    assert not any(gpu.error for gpu in probe.sample().gpus)
    nvml_stand_in.set({"gpu1.error": 15})
    sample = probe.until("s.gpus[1].error != ''")
    assert sample.gpus[1].error.startswith("lost: it has fallen off the bus")
    assert sample.gpus[1].name == RTX_3090["name"]
    assert sample.gpus[1].utilization is None
    assert sample.gpus[0].utilization == 71.0
    nvml_stand_in.set({"gpu1.error": None})
    assert probe.until("s.gpus[1].error", "").gpus[1].utilization == 71.0


def test_gpu_whose_sensors_all_fail_is_reported(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    probe.sample()
    sensors = ("UtilizationRates", "MemoryInfo", "MemoryInfo_v2", "PowerUsage", "Temperature")
    nvml_stand_in.set({f"gpu0.error.nvmlDeviceGet{sensor}": 999 for sensor in sensors})
    sample = probe.until("s.gpus[0].error", "none of its sensors answers any more")
    assert sample.gpus[1].error == ""
    nvml_stand_in.set({f"gpu0.error.nvmlDeviceGet{sensor}": None for sensor in sensors[:1]})
    assert probe.until("s.gpus[0].error", "").gpus[0].utilization == 71.0


def test_missing_driver_is_tried_again(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.set({"error.nvmlInitWithFlags": 9})
    probe = Probe(nvml_stand_in, REOPEN_AFTER="0.1")
    assert probe.sample().gpu_error == "the NVIDIA driver is not loaded"
    nvml_stand_in.set({"error.nvmlInitWithFlags": None})
    nvml_stand_in.gpus(1)
    assert only(probe.until("len(s.gpus)", 1)).utilization == 71.0
    assert probe.close() == 0


def test_gpu_is_found_again_after_a_reset(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.set({"gpu1.error": 15})
    probe = Probe(nvml_stand_in, REOPEN_AFTER="0.1")
    assert probe.sample().gpus[1].error.startswith("lost")
    nvml_stand_in.set({"gpu1.error": None})
    assert probe.until("s.gpus[1].error", "").gpus[1].name == RTX_3090["name"]
    assert probe.close() == 0


def test_chosen_gpus_only(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(3)
    nvml_stand_in.set({"gpu2.error": 15})
    probe = Probe(nvml_stand_in, ONLY_GPUS="1,2")
    assert [(gpu.index, gpu.error == "") for gpu in probe.sample().gpus] == [(1, True), (2, False)]
    assert probe.close() == 0


def test_gpu_lost_before_the_start_is_listed_by_number(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.set({"gpu0.error": 15})
    sample = probe.sample()
    assert sample.gpus[0].error.startswith("lost")
    assert sample.gpus[1].utilization == 71.0


def test_hanging_call_affects_its_gpu_only(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    probe.sample()
    nvml_stand_in.set({"gpu0.delay.nvmlDeviceGetTemperature": 4, "gpu1.utilization": 5})
    sample = probe.until("s.gpus[0].error != ''")
    assert sample.gpus[0].error.startswith("no answer for ")
    assert sample.gpus[0].utilization is None
    assert sample.gpus[0].name == RTX_3090["name"]
    assert sample.gpus[1].utilization == 5.0
    assert sample.cpu_percent is not None
    nvml_stand_in.set({"gpu0.delay.nvmlDeviceGetTemperature": None})
    assert probe.until("s.gpus[0].error", "").gpus[0].utilization == 71.0


def test_hanging_nvml_init_blocks_nothing(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"delay.nvmlInitWithFlags": 600})
    probe = Probe(nvml_stand_in)
    sample = probe.until("'does not answer' in s.gpu_error")
    assert sample.ram_available is not None
    assert probe.close() == 0  # nor the process's end


def test_throttle_reasons_in_words(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    for reasons, words in (
        (0x1, ()),
        (0x4, ("power cap",)),
        (0x8 | 0x40, ("hardware thermal",)),
        (0x8, ("hardware slowdown",)),
        (0x20 | 0x80, ("software thermal", "power brake")),
        (0x2 | 0x10 | 0x100, ("application clocks", "sync boost", "display clocks")),
    ):
        nvml_stand_in.set({"gpu0.throttle": reasons})
        probe.until("s.gpus[0].throttle", words)


def test_nvlink_and_ecc_counters(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"gpu0.ecc_corrected": 7, "gpu0.ecc_uncorrected": 0, "gpu0.field82": 71})
    nvml_stand_in.set({"gpu0.field138": 1000, "gpu0.field139": 2000})
    first = only(probe.sample())
    assert (first.ecc_corrected, first.ecc_uncorrected, first.memory_temperature) == (7, 0, 71.0)
    assert first.nvlink_tx is None  # a rate needs two readings of the counter
    nvml_stand_in.set({"gpu0.field138": 1001, "gpu0.field139": 2003})
    second = only(probe.until("(s.gpus[0].nvlink_tx or 0) > 0"))
    assert second.nvlink_rx == pytest.approx(3 * (second.nvlink_tx or 0), rel=0.01)


def test_gpm_activity(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"gpu0.gpm": 1, "gpu0.gpm2": 61.5, "gpu0.gpm5": 23, "gpu0.gpm10": 40, "gpu0.gpm21": 2})
    assert only(probe.sample()).sm_activity is None
    gpu = only(probe.until("s.gpus[0].sm_activity is not None"))
    assert (gpu.sm_activity, gpu.tensor_activity, gpu.dram_activity) == (0.615, 0.23, 0.4)
    assert gpu.sm_occupancy is None
    assert gpu.pcie_rx == 2 << 20


def test_mig_gpu_has_instances_and_no_utilization(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.mig(1, instances=2)
    nvml_stand_in.set({"gpu1.utilization": 0, "gpu1.mig1.processes": f"{probe.pid}:1048576"})
    first, second = probe.sample().gpus
    assert (first.mig, first.instances, first.cuda_index) == (False, (), None)
    assert second.mig
    assert second.utilization is None
    assert second.cuda_index is None
    assert [one.cuda_index for one in second.instances] == [0, None]
    assert [one.memory_used for one in second.instances] == [1 * GIB, 2 * GIB]
    assert [one.gpu_instance for one in second.instances] == [7, 8]
    (process,) = second.instances[1].processes
    assert process.memory == 1 << 20


def test_gpm_activity_of_mig_instances(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.mig(0, instances=2)
    nvml_stand_in.set({"gpu0.gpm": 1, "gpu0.mig1.gpm2": 61.5, "gpu0.mig1.gpm5": 23, "gpu0.mig1.gpm20": 9})
    gpu = only(probe.until("s.gpus[0].instances[1].sm_activity is not None"))
    first, second = gpu.instances
    assert (first.sm_activity, first.tensor_activity) == (None, None)
    assert (second.sm_activity, second.tensor_activity, second.dram_activity) == (0.615, 0.23, None)
    assert gpu.pcie_tx is None
    assert gpu.sm_activity is None


def test_gpu_processes_are_sorted_by_memory(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"gpu0.processes": f"{os.getpid()}:1000 {probe.pid}:3000", "gpu0.graphics_processes": "1:2000"})
    processes = only(probe.sample()).processes
    assert [(process.pid, process.memory) for process in processes] == [
        (probe.pid, 3000),
        (1, 2000),
        (os.getpid(), 1000),
    ]
    assert not any(process.ours for process in processes)
    if str(Path("/proc/self/ns/pid").readlink()) == "pid:[4026531836]":  # else NVML's pids mean nothing here
        assert processes[0].name.endswith("sampling_probe.py")
        probe.until("s.gpus[0].processes[0].user", getpass.getuser())


def test_cuda_visible_devices_gives_the_cuda_index(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(3)
    probe = Probe(nvml_stand_in, CUDA_VISIBLE_DEVICES="2,GPU-00000000")
    assert [gpu.cuda_index for gpu in probe.sample().gpus] == [1, None, 0]
    assert probe.close() == 0


def test_zero_where_a_value_cannot_be_zero_is_unknown(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    zero = (
        *("memory_total", "memory_used", "power_limit", "temperature_slowdown", "sm_clock_max", "memory_clock_max"),
        *("pcie_generation", "pcie_width", "pcie_generation_max", "pcie_width_max"),
    )
    nvml_stand_in.gpus(1, {**RTX_3090, **dict.fromkeys(zero, 0), "utilization": 0, "fan": 0})
    gpu = only(probe.sample())
    assert {name: getattr(gpu, name) for name in zero} == dict.fromkeys(zero)
    assert (gpu.utilization, gpu.fan, gpu.error) == (0.0, 0.0, "")


def test_process_memory_that_the_driver_does_not_report_is_unknown(nvml_stand_in: NvmlStandIn, probe: Probe) -> None:
    """NVML reports all ones for it (NVML_VALUE_NOT_AVAILABLE)."""
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"gpu0.processes": f"1:{2**64 - 1} 2:1000"})
    processes = only(probe.sample()).processes
    assert [(process.pid, process.memory) for process in processes] == [(2, 1000), (1, None)]
