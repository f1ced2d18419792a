"""Samples as flat rows: ``resources.csv``, and one JSON object a line."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
from pathlib import Path

from gputrain.engine.errors import BadInput
from gputrain.engine.events import DiskSample, GpuSample, HardwareSample
from gputrain.engine.text import plain

Value = float | int | str | None

_LONGEST_HEADER = 1 << 16


def flat(sample: HardwareSample) -> dict[str, Value]:
    """The sample as one mapping, column → value, in the columns' order; None is what was not measured.

    The names end in the unit. GPU columns are prefixed by the GPU's number (``gpu0_power_w``).
    """
    row: dict[str, Value] = {
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
        "load_1m": sample.load_1m,
        "ram_total_bytes": sample.ram_total,
        "ram_available_bytes": sample.ram_available,
        "ram_cached_bytes": sample.ram_cached,
        "swap_used_bytes": sample.swap_used,
        "shm_used_bytes": sample.shm_used,
        "run_rss_bytes": sample.run_rss,
        "run_pss_bytes": sample.run_pss,
        "run_read_bytes_per_s": sample.run_read_rate,
        "run_cache_hit_share": sample.run_cache_hit,
        **_disk(sample),
        "net_rx_bytes_per_s": sample.net_rx,
        "net_tx_bytes_per_s": sample.net_tx,
        "psi_cpu_share": sample.psi_cpu,
        "psi_io_share": sample.psi_io,
        "psi_memory_share": sample.psi_memory,
        "psi_memory_full_share": sample.psi_memory_full,
        "gpu_error": sample.gpu_error or None,
    }
    for gpu in sample.gpus:
        row |= {f"gpu{gpu.index}_{name}": value for name, value in _gpu(gpu).items()}
    return row


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
        "data_device_queue": disk.device_queue,
    }


def _gpu(gpu: GpuSample) -> dict[str, Value]:
    return {
        "util_percent": gpu.utilization,
        "memory_util_percent": gpu.memory_utilization,
        "memory_used_bytes": gpu.memory_used,
        "memory_total_bytes": gpu.memory_total,
        "power_w": gpu.power,
        "power_limit_w": gpu.power_limit,
        "temperature_c": gpu.temperature,
        "fan_percent": gpu.fan,
        "sm_clock_mhz": gpu.sm_clock,
        "memory_clock_mhz": gpu.memory_clock,
        "pcie_rx_bytes_per_s": gpu.pcie_rx,
        "pcie_tx_bytes_per_s": gpu.pcie_tx,
        "nvlink_rx_bytes_per_s": gpu.nvlink_rx,
        "nvlink_tx_bytes_per_s": gpu.nvlink_tx,
        "sm_activity_share": gpu.sm_activity,
        "tensor_activity_share": gpu.tensor_activity,
        "dram_activity_share": gpu.dram_activity,
        "throttle": " + ".join(gpu.throttle) or None,
        "error": gpu.error or None,
    }


class CsvLog:
    """Appends samples to a CSV file, each by one write: a crash leaves whole rows, or one torn last row."""

    def __init__(self, path: Path) -> None:
        """Raises BadInput if `path` can't be written, or holds something else."""
        self._path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}; name a file that can be written") from None
        try:
            self._columns, self._torn = _existing(self._handle, path)
        except BadInput:
            os.close(self._handle)
            raise

    def append(self, sample: HardwareSample) -> None:
        """Write one row; the first row of a new file decides how many GPUs have columns. Raises OSError."""
        row = flat(sample)
        lines = [[""]] if self._torn else []
        self._torn = False
        if not self._columns:
            self._columns = list(row)
            lines.append(self._columns)
        lines.append([_cell(row.get(column)) for column in self._columns])
        os.write(self._handle, "".join(_line(cells) for cells in lines).encode())

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _existing(handle: int, path: Path) -> tuple[list[str], bool]:
    """Columns of a file that is gone on with, and whether its last row is torn."""
    size = os.fstat(handle).st_size
    if size == 0:
        return [], False
    first = os.pread(handle, _LONGEST_HEADER, 0).split(b"\n", 1)[0].decode("utf-8", "replace")
    columns = next(csv.reader([first]), [])
    if columns[:1] != ["time_utc"]:
        raise BadInput(f"{path}: holds something else ('{plain(first, 40)}'); name another file")
    return columns, os.pread(handle, 1, size - 1) != b"\n"


def _cell(value: Value) -> str:
    return "" if value is None else f"{value}"


def _line(cells: list[str]) -> str:
    if cells == [""]:
        return "\n"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
