"""CSV log of samples: stable columns, complete rows, empty cells for unmeasured values."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.events import (
    DeviceSample,
    DiskSample,
    GpuProcess,
    GpuSample,
    HardwareSample,
    MigSample,
    ProcessSample,
)
from gputrain.engine.monitor.csv_writer import CsvLog
from gputrain.engine.monitor.sample_columns import flat_row, sample_as_json

GPU = GpuSample(index=0, name="A GPU", utilization=71.0, power=280.5, throttle=("power cap", "hardware thermal"))
SAMPLE = HardwareSample(
    wall=1_800_000_000.25,
    interval=1.0,
    cpu_percent=12.5,
    usable_cores=2.0,
    ram_available=5,
    disk=DiskSample(read_rate=100.0, device="vda"),
    gpus=(GPU, GpuSample(index=3, error="lost, really")),
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log(path: Path, *samples: HardwareSample) -> None:
    writer = CsvLog(path)
    for sample in samples:
        writer.append(sample)
    writer.close()


def test_one_row_per_sample_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, SAMPLE, SAMPLE)
    log(path, SAMPLE)  # a later process goes on with the same file
    found = rows(path)
    assert len(found) == 3
    assert found[0] == found[2]
    assert found[0]["time_utc"] == "2027-01-15T08:00:00.250+00:00"
    assert found[0]["cpu_percent"] == "12.5"
    assert found[0]["gpu0_util_percent"] == "71.0"
    assert found[0]["gpu0_throttle"] == "power cap + hardware thermal"
    assert found[0]["gpu3_error"] == "lost, really"
    assert found[0]["disk_read_bytes_per_s"] == "100.0"
    assert path.read_text().count("time_utc") == 1


def test_unmeasured_values_are_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, HardwareSample(wall=1.0, interval=0.0))
    (row,) = rows(path)
    assert row["cpu_percent"] == row["ram_available_bytes"] == row["disk_read_bytes_per_s"] == ""


def test_columns_stay_when_a_gpu_disappears(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, SAMPLE, HardwareSample(wall=2.0, interval=1.0, gpus=(GPU,)), HardwareSample(wall=3.0, interval=1.0))
    assert [row["gpu0_power_w"] for row in rows(path)] == ["280.5", "280.5", ""]
    assert len({line.count(",") for line in path.read_text().splitlines()[2:]}) == 1


def test_incomplete_last_row_damages_no_other(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, SAMPLE, SAMPLE)
    os.truncate(path, path.stat().st_size - 30)
    log(path, SAMPLE)
    found = rows(path)
    assert len(found) == 3
    assert found[0] == found[2]


def test_other_files_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("Chapter one\n")
    with pytest.raises(BadInput, match=r"thesis\.txt: is not a log of samples \(begins with 'Chapter one'\)"):
        CsvLog(path)
    assert path.read_text() == "Chapter one\n"


def test_unwritable_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file or directory; choose a file that can be written"):
        CsvLog(tmp_path / "missing" / "resources.csv")


def test_column_names_end_in_units() -> None:
    units = ("_s", "_utc", "_percent", "_cores", "_share", "_mhz", "_c", "_1m", "_bytes", "_w", "_j", "_queue")
    counts = ("_generation", "_width", "_max", "_corrected", "_uncorrected")
    texts = ("_device", "_error", "_throttle", "_name", "_uuid")
    for name in flat_row(SAMPLE):
        assert name.endswith((*units, *counts, *texts)), name


def test_late_gpus_add_columns_to_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    path.touch(0o640)
    log(path, HardwareSample(wall=1.0, interval=1.0, cpu_percent=5.0), SAMPLE)
    more = HardwareSample(wall=3.0, interval=1.0, gpus=(*SAMPLE.gpus, GpuSample(index=7, power=99.0)))
    log(path, more, SAMPLE)  # a later process, on a machine with more GPUs
    found = rows(path)
    assert [row["cpu_percent"] for row in found] == ["5.0", "12.5", "", "12.5"]
    assert [row["gpu0_power_w"] for row in found] == ["", "280.5", "280.5", "280.5"]
    assert [row["gpu7_power_w"] for row in found] == ["", "", "99.0", ""]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["resources.csv"]


def test_incomplete_row_is_widened_too(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, HardwareSample(wall=1.0, interval=1.0), HardwareSample(wall=2.0, interval=1.0))
    os.truncate(path, path.stat().st_size - 30)
    log(path, SAMPLE)
    found = rows(path)
    assert len(found) == 3
    assert found[2]["gpu0_power_w"] == "280.5"


def test_pipe_gets_a_new_header_for_new_columns(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log(path, HardwareSample(wall=1.0, interval=1.0), SAMPLE, SAMPLE)
        lines = os.read(reader, 1 << 16).decode().splitlines()
    finally:
        os.close(reader)
    assert [line.startswith("time_utc") for line in lines] == [True, False, True, False, False]
    assert list(csv.DictReader(lines[2:]))[1]["gpu0_power_w"] == "280.5"


def test_json_sample_has_lists() -> None:
    gpu = GpuSample(
        index=1,
        uuid="GPU-1",
        power=100.0,
        ecc_uncorrected=3,
        processes=(GpuProcess(pid=7, memory=5, name="python train.py", user="eve"),),
        instances=(MigSample(name="1g.10gb", memory_used=4, sm_activity=0.5),),
    )
    disk = DiskSample(devices=(DeviceSample(name="sda", read_iops=3.0),))
    worker = ProcessSample(pid=9, name="python", role="worker", cpu=0.5)
    sample = HardwareSample(
        wall=1.0, interval=1.0, gpus=(GPU, gpu), disk=disk, per_core=(1.0, 2.0), processes=(worker,)
    )
    found = sample_as_json(sample)
    assert found["per_core_percent"] == [1.0, 2.0]
    assert found["gpu_power_w"] == flat_row(sample)["gpu_power_w"] == 380.5
    second = found["gpus"][1]
    assert (second["index"], second["uuid"], second["ecc_uncorrected"]) == (1, "GPU-1", 3)
    assert (second["processes"][0]["user"], second["processes"][0]["command"]) == ("eve", "python train.py")
    assert (second["instances"][0]["memory_used_bytes"], second["instances"][0]["sm_activity_share"]) == (4, 0.5)
    assert flat_row(sample)["gpu1_mig0_memory_used_bytes"] == 4
    assert (found["disks"][0]["name"], found["disks"][0]["read_per_s"]) == ("sda", 3.0)
    assert flat_row(sample)["disk_sda_read_per_s"] == 3.0
    assert (found["run_processes"][0]["role"], found["run_processes"][0]["cpu_cores"]) == ("worker", 0.5)
