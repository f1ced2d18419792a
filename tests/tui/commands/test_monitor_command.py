"""``gputrain-tui monitor`` without a screen: printed rows and logs, with scripted GPUs and real processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.nvml import GIB, NvmlStandIn

COMMAND = [sys.executable, "-m", "gputrain.tui.cli", "monitor", "--interval", "0.2"]


def monitor(nvml: NvmlStandIn, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=os.environ | nvml.env, capture_output=True, text=True, timeout=60)


@contextmanager
def going(nvml: NvmlStandIn, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], env=os.environ | nvml.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process


def test_json_lines_have_the_drivers_metrics_by_panel(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(2)
    nvml_stand_in.set({"gpu1.power": 150_250, "gpu1.throttle": 4})
    done = monitor(nvml_stand_in, "--json", "-n", "2")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert row["interval_s"] > 0
        first, second = row["gpus"]
        assert (first["name"], first["util_percent"]) == ("NVIDIA GeForce RTX 3090", 71)
        assert first["memory_used_bytes"] == 12 * GIB
        assert (second["power_w"], second["throttle"]) == (150.25, ["power cap"])
        assert row["gpu_power_w"] == 280.5 + 150.25
        assert row["run_cpu_cores"] is None
        assert len(row["per_core_percent"]) == len(os.sched_getaffinity(0))


def test_csv_rows_by_default_and_only_the_gpus_asked_for(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(3)
    done = monitor(nvml_stand_in, "--gpu", "2", "-n", "3")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 3
    assert {name.split("_")[0] for name in rows[0] if name.startswith("gpu")} == {"gpu", "gpu2"}
    assert rows[0]["gpu2_uuid"].startswith("GPU-00000002")
    assert float(rows[0]["ram_total_bytes"]) > GIB


def test_rows_wait_for_a_driver_that_wakes_its_gpus(nvml_stand_in: NvmlStandIn, tmp_path: Path) -> None:
    nvml_stand_in.gpus(1)
    nvml_stand_in.set({"delay.nvmlInitWithFlags": 2.5})
    log = tmp_path / "resources.csv"
    done = monitor(nvml_stand_in, "--gpu", "0", "--log", str(log), "--plain", "-n", "1")
    assert (done.returncode, done.stderr) == (0, "")
    for text in (done.stdout, log.read_text()):
        row = next(csv.DictReader(text.splitlines()))
        assert row["gpu0_power_w"] == "280.5"
        assert float(row["interval_s"]) >= 0.19  # a sample that came late is not followed at once by the next


def test_a_gpu_that_is_not_there_is_bad_input(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.gpus(1)
    done = monitor(nvml_stand_in, "--gpu", "0", "--gpu", "4", "-n", "1")
    assert done.returncode == 2
    assert "--gpu 4: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_alone_prints_nothing_and_is_appended_to(nvml_stand_in: NvmlStandIn, tmp_path: Path) -> None:
    nvml_stand_in.gpus(1)
    log = tmp_path / "resources.csv"
    for _ in range(2):
        done = monitor(nvml_stand_in, "--log", str(log), "-n", "2")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 4
    assert {row["gpu0_power_w"] for row in rows} == {"280.5"}
    assert [row["time_unix_s"] for row in rows] == sorted(row["time_unix_s"] for row in rows)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(nvml_stand_in: NvmlStandIn, tmp_path: Path, end: signal.Signals) -> None:
    log = tmp_path / "resources.csv"
    with going(nvml_stand_in, "--log", str(log), "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = process.stdout.readline()
        process.send_signal(end)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""
    assert log.read_bytes().endswith(b"\n")
    written = {row["time_unix_s"] for row in csv.DictReader(log.read_text().splitlines())}
    assert {str(json.loads(line)["time_unix_s"]) for line in [printed, *rest.splitlines()]} <= written


def test_a_foreign_process_is_measured_until_it_ends(nvml_stand_in: NvmlStandIn) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    assert busy.stdout is not None
    busy.stdout.readline()
    try:
        with going(nvml_stand_in, "--pid", str(busy.pid), "--json") as process:
            assert process.stdout is not None
            rows = [json.loads(process.stdout.readline()) for _ in range(3)]
            busy.kill()
            busy.wait()
            process.communicate(timeout=30)
        assert process.returncode == 0
        assert all(row["run_rss_bytes"] > 1 << 20 for row in rows)
        assert max(row["run_cpu_cores"] for row in rows) > 0
    finally:
        busy.kill()
        busy.wait()
        busy.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "0"], "must be 0.2 to 3600 seconds"),
        (["--interval", "often"], "must be 0.2 to 3600 seconds, got 'often'"),
        (["--log", "/nowhere/x.csv"], "/nowhere/x.csv: No such file or directory"),
        (["--log", __file__], "is not a log of samples"),
        (["--pid", "4194303"], "--pid 4194303: no such process"),
        (["--pid", "-1"], "must be a process id, got '-1'"),
        (["-n", "0"], "must be a whole number ≥ 1"),
    ],
)
def test_bad_input(nvml_stand_in: NvmlStandIn, arguments: list[str], message: str) -> None:
    done = monitor(nvml_stand_in, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_becomes_unwritable_is_reported() -> None:
    done = subprocess.run([*COMMAND, "--log", "/dev/full", "-n", "3"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the log cannot be written" in done.stderr
