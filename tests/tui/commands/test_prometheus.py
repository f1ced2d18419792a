"""The exporter: a real process, read by Prometheus' own parser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunInfo, State, Status
from gputrain.tui.exporter.prometheus_metrics import machine_metrics, run_metrics

TOKEN = "0123456789abcdef-secret"


@contextmanager
def exporter(address: str, **environment: str) -> Iterator[str]:
    command = [sys.executable, "-m", "gputrain.tui.cli", "monitor", "--interval", "0.2", "--prometheus", address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stderr.close()


def scraped(url: str, token: str = "") -> dict[str, float]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    # A proxy of the environment has no way to this machine's loopback.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_machine_is_served_on_loopback() -> None:
    with exporter(f":{free_port()}") as url:
        assert url.startswith("http://127.0.0.1:")
        while "node_memory_MemTotal_bytes" not in (found := scraped(url)):
            pass
        assert found["node_memory_MemTotal_bytes"] > found["node_memory_MemAvailable_bytes"] > 0
        assert found["gputrain_runs_live"] == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            scraped(url.replace("/metrics", "/elsewhere"))


def test_other_addresses_need_the_token() -> None:
    port = free_port()
    command = [sys.executable, "-m", "gputrain.tui.cli", "monitor", "--prometheus", f"0.0.0.0:{port}"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "GPUTRAIN_PROMETHEUS_TOKEN" in refused.stderr
    with exporter(f"0.0.0.0:{port}", GPUTRAIN_PROMETHEUS_TOKEN=TOKEN):
        url = f"http://127.0.0.1:{port}/metrics"
        for wrong in ("", "wrong", TOKEN[:-1]):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                scraped(url, wrong)
        assert scraped(url, TOKEN)["gputrain_runs_live"] == 0


@pytest.mark.parametrize("address", ["9400", ":80", ":x", "::1:9400", ":9400:"])
def test_bad_addresses(address: str) -> None:
    command = [sys.executable, "-m", "gputrain.tui.cli", "monitor", "--prometheus", address]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 2


def text_of(metrics: object) -> str:
    class Only(Collector):
        def collect(self):  # type: ignore[no-untyped-def]
            return metrics

    registry = CollectorRegistry()
    registry.register(Only())
    return generate_latest(registry).decode()


def test_gpus_have_dcgms_names_and_units() -> None:
    gpu = GpuSample(
        index=1, uuid="GPU-a", name="NVIDIA H100", utilization=97.0, memory_used=3 << 30, memory_total=80 << 30,
        power=512.5, energy=1500.25, sm_activity=0.75,
    )  # fmt: skip
    lost = GpuSample(index=2, uuid="GPU-b", error="lost")
    text = text_of(machine_metrics(HardwareSample(interval=1.0, cpu_percent=50.0, gpus=(gpu, lost))))
    labels = r'\{Hostname="[^"]*",UUID="GPU-a",gpu="1",modelName="NVIDIA H100"\}'
    for name, value in (
        ("DCGM_FI_DEV_GPU_UTIL", "97.0"), ("DCGM_FI_DEV_FB_USED", "3072.0"), ("DCGM_FI_DEV_FB_FREE", "78848.0"),
        ("DCGM_FI_DEV_POWER_USAGE", "512.5"), ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", r"1.50025e\+06"),
        ("DCGM_FI_PROF_SM_ACTIVE", "0.75"), ("gputrain_gpu_readable", "1.0"),
    ):  # fmt: skip
        assert re.search(rf"^{name}{labels} {value}$", text, re.MULTILINE), name
    # What was not measured is absent, not 0.
    assert "DCGM_FI_DEV_GPU_TEMP" not in text
    assert text.count("DCGM_FI_DEV_GPU_UTIL{") == 1
    assert re.search(r'^gputrain_gpu_readable\{.*gpu="2".*\} 0.0$', text, re.MULTILINE)
    assert "gputrain_cpu_busy_ratio 0.5" in text


def test_live_runs_alone_are_served() -> None:
    def info(state: State, **more: Any) -> RunInfo:
        status = Status(
            state=state, started=0.0, heartbeat=0.0, pid=1, pid_started=0.0, boot_id="", step=50, total_steps=200,
            images_per_second=12.5, name='a "quoted"\nname', **more,
        )  # fmt: skip
        return RunInfo(run_directory.create("x"), status)

    text = text_of(run_metrics([info(State.RUNNING, unit="samples"), info(State.FINISHED)]))
    assert "gputrain_runs_live 1.0" in text
    assert text.count("gputrain_run_throughput{") == 1
    assert 'unit="samples"} 12.5' in text
    assert re.search(r"^gputrain_run_steps_total\{.*\} 50.0$", text, re.MULTILINE)
    assert re.search(r"^gputrain_run_progress_ratio\{.*\} 0.25$", text, re.MULTILINE)
