"""The log of samples: stable columns, whole rows, nothing invented."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from gputrain.engine.errors import BadInput
from gputrain.engine.events import DiskSample, GpuSample, HardwareSample
from gputrain.engine.monitor.csvlog import CsvLog, flat

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


def test_one_row_a_sample_under_one_header(tmp_path: Path) -> None:
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


def test_what_was_not_measured_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, HardwareSample(wall=1.0, interval=0.0))
    (row,) = rows(path)
    assert row["cpu_percent"] == row["ram_available_bytes"] == row["disk_read_bytes_per_s"] == ""


def test_columns_do_not_move_when_a_gpu_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, SAMPLE, HardwareSample(wall=2.0, interval=1.0, gpus=(GPU,)), HardwareSample(wall=3.0, interval=1.0))
    assert [row["gpu0_power_w"] for row in rows(path)] == ["280.5", "280.5", ""]
    assert len({line.count(",") for line in path.read_text().splitlines()[2:]}) == 1


def test_a_torn_last_row_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "resources.csv"
    log(path, SAMPLE, SAMPLE)
    os.truncate(path, path.stat().st_size - 30)
    log(path, SAMPLE)
    found = rows(path)
    assert len(found) == 3
    assert found[0] == found[2]


def test_somebody_else_s_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("Chapter one\n")
    with pytest.raises(BadInput, match=r"thesis\.txt: holds something else \('Chapter one'\)"):
        CsvLog(path)
    assert path.read_text() == "Chapter one\n"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file or directory; name a file that can be written"):
        CsvLog(tmp_path / "missing" / "resources.csv")


def test_the_flat_form_has_every_unit_in_its_name() -> None:
    units = ("_s", "_utc", "_percent", "_cores", "_share", "_mhz", "_c", "_1m", "_bytes", "_w", "_device", "_queue")
    for name in flat(SAMPLE):
        assert name.endswith((*units, "_error", "_throttle")), name
