"""Samples as flat rows for CSV, and as nested objects for JSON; all names end in the unit."""

from __future__ import annotations

import datetime as dt
from typing import Any

from gputrain.engine.events import (
    DeviceSample,
    DiskSample,
    GpuSample,
    HardwareSample,
    MigSample,
    ProcessSample,
)

Value = float | int | str | None


def flat_row(sample: HardwareSample) -> dict[str, Value]:
    """The sample as column → value, in the order of the columns; None: not measured.

    GPU columns begin with the GPU's number (``gpu0_power_w``), those of disks with their names.
    """
    row = {**_host(sample), **_disk(sample)}
    for device in sample.disk.devices if sample.disk else ():
        row |= {f"disk_{device.name}_{name}": value for name, value in _device(device).items()}
    row |= {"gpu_error": sample.gpu_error or None, "gpu_power_w": _power(sample)}
    for gpu in sample.gpus:
        row |= {f"gpu{gpu.index}_{name}": value for name, value in _gpu(gpu).items()}
        for number, instance in enumerate(gpu.instances):
            row |= {f"gpu{gpu.index}_mig{number}_{name}": value for name, value in _instance(instance).items()}
    return row


def sample_as_json(sample: HardwareSample) -> dict[str, Any]:
    """The whole sample: the names of a row, and lists of cores, disks, GPUs, MIG instances and processes."""
    disks = sample.disk.devices if sample.disk else ()
    return {
        **_host(sample),
        **_disk(sample),
        "per_core_percent": list(sample.per_core),
        "disks": [{"name": device.name, **_device(device)} for device in disks],
        "gpu_error": sample.gpu_error or None,
        "gpu_power_w": _power(sample),
        "gpus": [_whole_gpu(gpu) for gpu in sample.gpus],
        "run_processes": [_process(process) for process in sample.processes],
        "other_processes": [_process(process) for process in sample.other_processes],
    }


def _host(sample: HardwareSample) -> dict[str, Value]:
    return {
        "time_utc": dt.datetime.fromtimestamp(sample.wall, dt.UTC).isoformat(timespec="milliseconds"),
        "time_unix_s": round(sample.wall, 3),
        "interval_s": sample.interval,
        "cpu_percent": sample.cpu_percent,
        "usable_cores": sample.usable_cores,
        "run_cpu_cores": sample.run_cpu,
        "foreign_cpu_cores": sample.foreign_cpu,
        "steal_cpu_cores": sample.cpu_steal,
        "cpu_throttled_share": sample.throttled_share,
        "cpu_frequency_mhz": sample.cpu_frequency,
        "cpu_temperature_c": sample.cpu_temperature,
        "cpu_power_w": sample.cpu_power,
        "load_1m": sample.load_1m,
        "ram_total_bytes": sample.ram_total,
        "ram_available_bytes": sample.ram_available,
        "ram_cached_bytes": sample.ram_cached,
        "swap_used_bytes": sample.swap_used,
        "shm_used_bytes": sample.shm_used,
        "shm_total_bytes": sample.shm_total,
        "run_rss_bytes": sample.run_rss,
        "run_pss_bytes": sample.run_pss,
        "run_read_bytes_per_s": sample.run_read_rate,
        "run_cache_hit_share": sample.run_cache_hit,
        "net_rx_bytes_per_s": sample.net_rx,
        "net_tx_bytes_per_s": sample.net_tx,
        "psi_cpu_share": sample.psi_cpu,
        "psi_io_share": sample.psi_io,
        "psi_memory_share": sample.psi_memory,
        "psi_memory_full_share": sample.psi_memory_full,
    }


def _disk(sample: HardwareSample) -> dict[str, Value]:
    disk = sample.disk or DiskSample()
    return {
        "disk_read_bytes_per_s": disk.read_rate,
        "disk_write_bytes_per_s": disk.write_rate,
        "disk_read_per_s": disk.read_iops,
        "disk_write_per_s": disk.write_iops,
        "data_device": disk.device or None,
        "data_device_read_bytes_per_s": disk.device_read_rate,
        "data_device_write_bytes_per_s": disk.device_write_rate,
        "data_device_busy_share": disk.device_busy,
        "data_device_read_latency_s": disk.device_read_latency,
        "data_device_write_latency_s": disk.device_write_latency,
        "data_device_queue": disk.device_queue,
    }


def _device(device: DeviceSample) -> dict[str, Value]:
    return {
        "read_bytes_per_s": device.read_rate,
        "write_bytes_per_s": device.write_rate,
        "read_per_s": device.read_iops,
        "write_per_s": device.write_iops,
        "busy_share": device.busy,
        "read_latency_s": device.read_latency,
        "write_latency_s": device.write_latency,
        "queue": device.queue,
    }


def _power(sample: HardwareSample) -> float | None:
    """Power in W summed over all GPUs that report it; None if none does."""
    known = [gpu.power for gpu in sample.gpus if gpu.power is not None]
    return round(sum(known), 3) if known else None


def _gpu(gpu: GpuSample) -> dict[str, Value]:
    return {
        "name": gpu.name or None,
        "uuid": gpu.uuid or None,
        "util_percent": gpu.utilization,
        "memory_util_percent": gpu.memory_utilization,
        "memory_used_bytes": gpu.memory_used,
        "memory_total_bytes": gpu.memory_total,
        "power_w": gpu.power,
        "energy_j": gpu.energy,
        "power_limit_w": gpu.power_limit,
        "temperature_c": gpu.temperature,
        "temperature_slowdown_c": gpu.temperature_slowdown,
        "memory_temperature_c": gpu.memory_temperature,
        "fan_percent": gpu.fan,
        "sm_clock_mhz": gpu.sm_clock,
        "sm_clock_max_mhz": gpu.sm_clock_max,
        "memory_clock_mhz": gpu.memory_clock,
        "memory_clock_max_mhz": gpu.memory_clock_max,
        "pcie_generation": gpu.pcie_generation,
        "pcie_width": gpu.pcie_width,
        "pcie_generation_max": gpu.pcie_generation_max,
        "pcie_width_max": gpu.pcie_width_max,
        "pcie_rx_bytes_per_s": gpu.pcie_rx,
        "pcie_tx_bytes_per_s": gpu.pcie_tx,
        "nvlink_rx_bytes_per_s": gpu.nvlink_rx,
        "nvlink_tx_bytes_per_s": gpu.nvlink_tx,
        "sm_activity_share": gpu.sm_activity,
        "sm_occupancy_share": gpu.sm_occupancy,
        "tensor_activity_share": gpu.tensor_activity,
        "dram_activity_share": gpu.dram_activity,
        "encoder_percent": gpu.encoder,
        "decoder_percent": gpu.decoder,
        "ecc_corrected": gpu.ecc_corrected,
        "ecc_uncorrected": gpu.ecc_uncorrected,
        "throttle": " + ".join(gpu.throttle) or None,
        "error": gpu.error or None,
    }


def _instance(instance: MigSample) -> dict[str, Value]:
    return {
        "name": instance.name or None,
        "uuid": instance.uuid or None,
        "memory_used_bytes": instance.memory_used,
        "memory_total_bytes": instance.memory_total,
        "sm_activity_share": instance.sm_activity,
        "sm_occupancy_share": instance.sm_occupancy,
        "tensor_activity_share": instance.tensor_activity,
        "dram_activity_share": instance.dram_activity,
    }


def _whole_gpu(gpu: GpuSample) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "cuda_index": gpu.cuda_index,
        **_gpu(gpu),
        "throttle": list(gpu.throttle),
        "mig": gpu.mig,
        "instances": [
            {**_instance(one), "cuda_index": one.cuda_index, "processes": _on_gpu(one)} for one in gpu.instances
        ],
        "processes": _on_gpu(gpu),
    }


def _on_gpu(where: GpuSample | MigSample) -> list[dict[str, Any]]:
    return [
        {
            "pid": process.pid,
            "memory_bytes": process.memory,
            "command": process.name or None,
            "user": process.user or None,
            "ours": process.ours,
        }
        for process in where.processes
    ]


def _process(process: ProcessSample) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "role": process.role or None,
        "command": process.name or None,
        "user": process.user or None,
        "cpu_cores": process.cpu,
        "rss_bytes": process.rss,
        "threads": process.threads,
        "state": process.state or None,
    }
