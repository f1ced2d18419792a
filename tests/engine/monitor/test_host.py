"""CPU, memory and pressure, from fake ``/proc`` trees and compared with psutil on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from gputrain.engine.hardware.cgroup import CGroup, find_cgroup
from gputrain.engine.monitor.host import Clocks, Cpu, Net, Ram
from gputrain.engine.monitor.pressure import Pressure

NO_GROUP = CGroup(version="none")


def stat(*cores: str, forks: int = 100) -> str:
    """``/proc/stat`` with the ticks of the first usable cores."""
    numbers = sorted(os.sched_getaffinity(0))
    lines = [f"cpu{number} {ticks}" for number, ticks in zip(numbers, cores, strict=False)]
    return "\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, "intr 1 2 3", "ctxt 5", f"processes {forks}", ""])


def test_cpu_use_between_two_readings(tmp_path: Path) -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice
    (tmp_path / "stat").write_text(stat("100 0 100 1000 0 0 0 0 0 0"))
    cpu = Cpu(NO_GROUP, tmp_path)
    first = cpu.read(1.0)
    assert (first.percent, first.per_core, first.busy) == (None, (), None)
    (tmp_path / "stat").write_text(stat("130 10 105 1030 10 0 5 10 30 0", forks=103))
    second = cpu.read(2.0)
    # 100 ticks: 50 of work, 40 idle or waiting for a disk, 10 stolen; guest is in user already.
    assert second.per_core == (50.0,)
    assert second.percent == 50.0
    assert second.busy == 0.5
    assert second.steal == 0.1
    assert second.forks == 103


def test_decreasing_iowait_gives_no_negative_use(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(stat("100 0 100 1000 50 0 0 0 0 0"))
    cpu = Cpu(NO_GROUP, tmp_path)
    cpu.read(1.0)
    (tmp_path / "stat").write_text(stat("200 0 100 1000 40 0 0 0 0 0"))
    assert cpu.read(2.0).percent == 100.0


def test_only_usable_cores_count() -> None:
    cpu = Cpu(find_cgroup())
    cpu.read(1.0)
    assert cpu.host_cores == os.cpu_count()
    assert cpu.usable <= len(os.sched_getaffinity(0))
    cpu.close()


def test_memory_agrees_with_psutil() -> None:
    ram = Ram(NO_GROUP)
    figures, theirs = ram.read(), psutil.virtual_memory()
    assert figures.total == theirs.total
    assert figures.available == pytest.approx(theirs.available, abs=256 << 20)
    assert figures.used == theirs.total - (figures.available or 0)
    assert figures.swap == pytest.approx(psutil.swap_memory().used, abs=64 << 20)
    ram.close()


def test_memory_under_a_group_s_limit(tmp_path: Path) -> None:
    files = {
        "memory.max": "1000000",
        "memory.current": "950000",
        "memory.stat": "file 300\nshmem 0\n",
        "memory.swap.current": "200",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    figures = Ram(CGroup(version="v2", memory=(tmp_path,))).read()
    assert (figures.total, figures.available, figures.used) == (1_000_000, 50_000, 950_000)
    # Files, swap and shared memory are the group's, not the host's.
    assert (figures.cached, figures.swap) == (300, 200)
    if figures.shm_total is not None:
        assert figures.shm_total <= 1_000_000
        assert figures.shm_used == 0


def test_missing_meminfo_gives_none(tmp_path: Path) -> None:
    figures = Ram(NO_GROUP, tmp_path).read()
    assert (figures.total, figures.available, figures.used, figures.swap) == (None, None, None, None)


DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: {lo}       9    0    0    0     0          0         0  {lo}       9    0    0    0     0       0          0
  eth0: {rx} 9 0 0 0 0 0 0 {tx} 9 0 0 0 0 0 0
veth1a: 999999 9 0 0 0 0 0 0 999999 9 0 0 0 0 0 0
"""  # noqa: E501


def test_network_without_loopback_and_container_pairs(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "dev").write_text(DEV.format(lo=5, rx=1000, tx=500))
    net = Net(tmp_path)
    assert net.read(10.0) == (None, None)
    (folder / "dev").write_text(DEV.format(lo=77777, rx=5000, tx=700))
    assert net.read(12.0) == (2000, 100)
    (folder / "dev").write_text(DEV.format(lo=0, rx=10, tx=10))  # the interface was replaced
    assert net.read(14.0) == (None, None)


def test_pressure_of_the_cgroup_first(tmp_path: Path) -> None:
    host, group = tmp_path / "proc" / "pressure", tmp_path / "group"
    host.mkdir(parents=True)
    group.mkdir()
    for resource in ("cpu", "memory"):
        (host / resource).write_text(
            "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=3.00 avg60=0 total=1\n"
        )
    (group / "memory.pressure").write_text(
        "some avg10=80.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=40.00 total=1\n"
    )
    pressure = Pressure(CGroup(version="v2", unified=(group,)), tmp_path / "proc")
    assert pressure.some("cpu") == 0.125
    assert pressure.some("memory") == 0.8
    assert pressure.full("memory") == 0.4
    assert pressure.some("io") is None
    pressure.close()


def test_clock_and_temperature_sensors(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    clock = tmp_path / "sys" / "devices" / "system" / "cpu" / f"cpu{core}" / "cpufreq"
    heat = tmp_path / "sys" / "class" / "hwmon" / "hwmon3"
    for folder in (clock, heat, tmp_path / "proc"):
        folder.mkdir(parents=True)
    (clock / "scaling_cur_freq").write_text("3400000\n")
    (heat / "name").write_text("k10temp\n")
    (heat / "temp1_input").write_text("61250\n")
    (tmp_path / "proc" / "loadavg").write_text("1.25 0.50 0.10 2/300 4711\n")
    clocks = Clocks(tmp_path / "proc", tmp_path / "sys")
    assert (clocks.load(), clocks.frequency(), clocks.temperature()) == (1.25, 3400, 61.25)
    clocks.close()
    nothing = Clocks(tmp_path / "elsewhere", tmp_path / "elsewhere")
    assert (nothing.load(), nothing.frequency(), nothing.temperature()) == (None, None, None)
