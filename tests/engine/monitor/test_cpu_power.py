"""Power of the CPU packages, from files as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gputrain.engine.monitor.cpu_power import CpuPower


def zone(root: Path, number: str, name: str, microjoules: int) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "0", "package-0", 5_000_000), zone(tmp_path, "1", "package-1", 7_000_000)
    core, psys = zone(tmp_path, "0:0", "core", 1_000_000), zone(tmp_path, "2", "psys", 0)
    power = CpuPower(tmp_path)
    assert power.read(10.0) is None
    for counter, value in ((first, 105_000_000), (second, 57_000_000), (core, 99_000_000), (psys, 500_000_000)):
        counter.write_text(f"{value}\n")
    assert power.read(12.0) == pytest.approx((100 + 50) / 2)
    power.close()


def test_a_counter_begins_again(tmp_path: Path) -> None:
    counter = zone(tmp_path, "0", "package-0", 990_000_000)
    power = CpuPower(tmp_path)
    power.read(1.0)
    counter.write_text("40000000\n")
    assert power.read(2.0) == pytest.approx(50)
    power.close()


def test_unreadable_counters_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0")
    for folder in (tmp_path, tmp_path / "nowhere"):
        power = CpuPower(folder)
        assert power.read(1.0) is None
        assert power.read(2.0) is None
        power.close()
