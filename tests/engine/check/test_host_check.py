"""System check of the host: findings by table, and facts read from a fake ``/sys``."""

from __future__ import annotations

import resource
from pathlib import Path

import msgspec
import pytest

from gputrain.engine.check.findings import Level, Line
from gputrain.engine.check.host_check import HostFacts, host_lines, read_host
from gputrain.engine.common.units import GIB, MIB
from gputrain.engine.hardware.machine import Machine

MACHINE = Machine(
    hostname="here",
    usable_cores=8.0,
    host_cores=64,
    cpu_model="Some CPU",
    memory_total=256 * GIB,
    memory_limit=32 * GIB,
    memory_available=20 * GIB,
    shm_total=16 * GIB,
    gpus=(),
    gpu_error="no NVIDIA driver",
    driver="",
    container="docker",
)
FACTS = HostFacts(
    governors=("performance",), driver="", threads={}, limits={"open files": 65536, "address space": None}, swap_total=0
)


def line(title: str, machine: Machine = MACHINE, facts: HostFacts = FACTS) -> Line:
    return next(found for found in host_lines(facts, machine) if found.title == title)


def test_container_limits_are_shown_with_the_hosts_values() -> None:
    assert line("cores").text == "8 of 64 cores usable, Some CPU (limited by docker container)"
    assert line("RAM").text == "20 GiB available of 32 GiB, the cgroup's limit (the host has 256 GiB)"
    assert {found.level for found in host_lines(FACTS, MACHINE)} == {"ok"}


@pytest.mark.parametrize(
    ("facts", "title", "level", "command"),
    [
        ({"governors": ("powersave",)}, "governor", "note", "scaling_governor"),
        ({"governors": ("performance", "powersave")}, "governor", "note", "scaling_governor"),
        ({"governors": ()}, "governor", "ok", ""),
        ({"threads": {"OMP_NUM_THREADS": "64"}}, "threads", "warning", "export OMP_NUM_THREADS=8"),
        ({"threads": {"OMP_NUM_THREADS": "4"}}, "threads", "ok", ""),
        ({"threads": {"OMP_NUM_THREADS": "many"}}, "threads", "ok", ""),
        ({"limits": {"open files": 1024, "address space": None}}, "ulimit", "note", "ulimit -n 4096"),
        ({"limits": {"open files": 65536, "address space": GIB}}, "ulimit", "warning", "ulimit -v unlimited"),
    ],
)
def test_slow_setting_comes_with_a_command(facts: dict[str, object], title: str, level: Level, command: str) -> None:
    found = line(title, facts=msgspec.structs.replace(FACTS, **facts))
    assert found.level == level
    assert bool(command) == bool(found.commands)
    assert command in "".join(found.commands)


@pytest.mark.parametrize(
    ("machine", "title", "level"),
    [
        ({"usable_cores": 1.0}, "cores", "warning"),
        ({"memory_available": 2 * GIB}, "RAM", "warning"),
        ({"shm_total": 64 * MIB}, "/dev/shm", "warning"),
        ({"shm_used": 16 * GIB - 60 * MIB}, "/dev/shm", "warning"),
        ({"shm_total": 0}, "/dev/shm", "problem"),
        ({"shm_total": 65 * MIB}, "/dev/shm", "ok"),
    ],
)
def test_too_little_memory_or_cores(machine: dict[str, object], title: str, level: Level) -> None:
    assert line(title, machine=msgspec.structs.replace(MACHINE, **machine)).level == level


def test_host_facts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, governor in enumerate(("powersave\n", "powersave\n", "performance\n")):
        policy = tmp_path / f"devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text(governor)
        (policy / "scaling_driver").write_text("intel_pstate\n")
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\nSwapTotal:       2048 kB\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    facts = read_host(sys=tmp_path, proc=tmp_path)
    assert facts.governors == ("powersave", "performance")
    assert facts.driver == "intel_pstate"
    assert facts.threads == {"OMP_NUM_THREADS": "3"}
    assert facts.swap_total == 2 * MIB
    assert facts.limits["open files"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
