"""A sample of the machine, and the live runs, as Prometheus metrics.

Names are those of dcgm-exporter and node_exporter where they exist.
Sources: the default counters of dcgm-exporter, and node_exporter's collectors loadavg, meminfo and pressure.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.runs.run_directory import RunInfo

_MIB = 1 << 20
_GPU = (
    # name, help, field, factor
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization in percent", "utilization", 1.0),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization in percent", "memory_utilization", 1.0),
    ("DCGM_FI_DEV_ENC_UTIL", "Encoder utilization in percent", "encoder", 1.0),
    ("DCGM_FI_DEV_DEC_UTIL", "Decoder utilization in percent", "decoder", 1.0),
    ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used in MiB", "memory_used", 1 / _MIB),
    ("DCGM_FI_DEV_FB_TOTAL", "Framebuffer memory in MiB", "memory_total", 1 / _MIB),
    ("DCGM_FI_DEV_POWER_USAGE", "Power draw in W", "power", 1.0),
    ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature in °C", "temperature", 1.0),
    ("DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature in °C", "memory_temperature", 1.0),
    ("DCGM_FI_DEV_SM_CLOCK", "SM clock in MHz", "sm_clock", 1.0),
    ("DCGM_FI_DEV_MEM_CLOCK", "Memory clock in MHz", "memory_clock", 1.0),
    ("DCGM_FI_PROF_SM_ACTIVE", "Share of cycles with a warp on an SM, 0 to 1", "sm_activity", 1.0),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "Share of resident warps, 0 to 1", "sm_occupancy", 1.0),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Share of cycles with tensor cores active, 0 to 1", "tensor_activity", 1.0),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "Share of cycles with memory active, 0 to 1", "dram_activity", 1.0),
    ("gputrain_gpu_pcie_rx_bytes_per_second", "PCIe traffic to the GPU", "pcie_rx", 1.0),
    ("gputrain_gpu_pcie_tx_bytes_per_second", "PCIe traffic from the GPU", "pcie_tx", 1.0),
)
_HOST = (
    ("node_load1", "1m load average", "load_1m", 1.0),
    ("node_memory_MemTotal_bytes", "Memory that this machine or container may use", "ram_total", 1.0),
    ("node_memory_MemAvailable_bytes", "Memory available without swapping", "ram_available", 1.0),
    ("node_memory_Cached_bytes", "Page cache", "ram_cached", 1.0),
    ("gputrain_cpu_busy_ratio", "Busy share of the usable cores, 0 to 1", "cpu_percent", 0.01),
    ("gputrain_cpu_usable_cores", "Cores that may be used: affinity and quota", "usable_cores", 1.0),
    ("gputrain_cpu_power_watts", "Power of the CPU packages (RAPL)", "cpu_power", 1.0),
    ("gputrain_network_receive_bytes_per_second", "Network traffic received", "net_rx", 1.0),
    ("gputrain_network_transmit_bytes_per_second", "Network traffic sent", "net_tx", 1.0),
    ("gputrain_shm_used_bytes", "Used in /dev/shm", "shm_used", 1.0),
)
_RUN_LABELS = ("run", "name", "recipe")


def machine_metrics(sample: HardwareSample) -> Iterator[Metric]:
    """The metrics of a sample; what was not measured is left out."""
    for name, text, field, factor in _HOST:
        if (value := getattr(sample, field)) is not None:
            yield GaugeMetricFamily(name, text, value=value * factor)
    if sample.disk is not None:
        for name, text, value in (
            ("gputrain_disk_read_bytes_per_second", "Read from all disks", sample.disk.read_rate),
            ("gputrain_disk_write_bytes_per_second", "Written to all disks", sample.disk.write_rate),
        ):
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)
    yield from _gpu_metrics(sample.gpus)


def _gpu_metrics(gpus: Iterable[GpuSample]) -> Iterator[Metric]:
    labels = {gpu.index: [str(gpu.index), gpu.uuid, gpu.name, socket.gethostname()] for gpu in gpus}
    names = ("gpu", "UUID", "modelName", "Hostname")
    for name, text, field, factor in _GPU:
        family = GaugeMetricFamily(name, text, labels=names)
        for gpu in gpus:
            if (value := getattr(gpu, field)) is not None:
                family.add_metric(labels[gpu.index], value * factor)
        if family.samples:
            yield family
    free = GaugeMetricFamily("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free in MiB", labels=names)
    # dcgm-exporter's own name and unit; a Prometheus counter would end in _total.
    energy = GaugeMetricFamily(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Energy in mJ since the driver was loaded", labels=names
    )
    lost = GaugeMetricFamily("gputrain_gpu_readable", "1: the GPU answers; 0: it cannot be read", labels=names)
    for gpu in gpus:
        if gpu.memory_total is not None and gpu.memory_used is not None:
            free.add_metric(labels[gpu.index], (gpu.memory_total - gpu.memory_used) / _MIB)
        if gpu.energy is not None:
            energy.add_metric(labels[gpu.index], gpu.energy * 1000)
        lost.add_metric(labels[gpu.index], 0.0 if gpu.error else 1.0)
    yield from (family for family in (free, energy, lost) if family.samples)


def run_metrics(runs: Iterable[RunInfo]) -> Iterator[Metric]:
    """The metrics of live runs."""
    known = [(info.run.id, info.status) for info in runs if info.status is not None and not info.status.state.over]
    rate = GaugeMetricFamily(
        "gputrain_run_throughput", "Images (samples, tokens or steps: unit) per second", labels=(*_RUN_LABELS, "unit")
    )
    steps = CounterMetricFamily("gputrain_run_steps", "Steps done", labels=_RUN_LABELS)
    epoch = GaugeMetricFamily("gputrain_run_epoch", "Epoch, from 1", labels=_RUN_LABELS)
    left = GaugeMetricFamily("gputrain_run_progress_ratio", "Share of the steps that are done", labels=_RUN_LABELS)
    age = GaugeMetricFamily(
        "gputrain_run_heartbeat_age_seconds", "Age of the supervisor's sign of life", labels=_RUN_LABELS
    )
    best = GaugeMetricFamily("gputrain_run_best", "Best validation so far", labels=(*_RUN_LABELS, "metric"))
    for run, status in known:
        labels = [run, plain(status.name, 80), plain(status.recipe, 80)]
        if status.images_per_second is not None:
            rate.add_metric([*labels, status.unit], status.images_per_second)
        steps.add_metric(labels, status.step)
        if status.epoch >= 0:
            epoch.add_metric(labels, status.epoch + 1)
        if status.total_steps:
            left.add_metric(labels, status.step / status.total_steps)
        age.add_metric(labels, max(0.0, time.time() - status.heartbeat))
        if status.best is not None:
            best.add_metric([*labels, status.metric], status.best)
    yield GaugeMetricFamily("gputrain_runs_live", "Runs that are live on this machine", value=len(known))
    yield from (family for family in (rate, steps, epoch, left, age, best) if family.samples)
