"""Limits and counters of cgroups, from fake trees and from this machine's own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from gputrain.engine.hardware import machine
from gputrain.engine.hardware.cgroup import CGroup, Memory, find_cgroup
from gputrain.engine.monitor import sampler
from gputrain.engine.monitor.sampler import Sampler

GIB = 1 << 30
UNLIMITED_V1 = 9223372036854771712


class Tree:
    """A fake ``/proc/self`` with mounts and groups below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._self = root / "proc" / "self"
        self._self.mkdir(parents=True)
        self._mounts: list[str] = []

    def mount(self, point: str, kind: str, options: str, top: str = "/") -> None:
        self._mounts.append(f"{30 + len(self._mounts)} 1 0:30 {top} {point} rw - {kind} {kind} rw,{options}\n")

    def groups(self, lines: str) -> None:
        (self._self / "cgroup").write_text(lines)

    @property
    def mounted(self) -> bool:
        """Whether anything is mounted."""
        return bool(self._mounts)

    def files(self, folder: str, files: Mapping[str, object]) -> None:
        target = self.root / folder.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_text(f"{content}\n")

    def find(self) -> CGroup:
        (self._self / "mountinfo").write_text("".join(self._mounts))
        return find_cgroup(self.root / "proc", self.root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_no_cgroups_no_limits(tree: Tree) -> None:
    found = tree.find()
    assert found.version == "none"
    assert (found.quota(), found.cpus(), found.memory_now(), found.throttling()) == (None, None, None, None)


def test_v2_takes_the_tightest_limit_up_the_path(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.groups("0::/slurm/job 7/step\n")
    tree.files("/sys/fs/cgroup", {"cpuset.cpus.effective": "0-63"})
    tree.files("/sys/fs/cgroup/slurm", {"cpu.max": "1600000 100000", "memory.max": 64 * GIB, "memory.current": 9 * GIB})
    tree.files(
        "/sys/fs/cgroup/slurm/job 7",
        {
            "cpu.max": "250000 100000",
            "cpu.stat": "usage_usec 5000000\nnr_periods 200\nnr_throttled 50\nthrottled_usec 1",
            "memory.max": 16 * GIB,
            "memory.high": 12 * GIB,
            "memory.current": 8 * GIB,
            "memory.swap.current": GIB // 2,
            "memory.stat": f"anon {5 * GIB}\nfile {4 * GIB}\nshmem {GIB}\ninactive_file {3 * GIB}\nactive_file 7",
        },
    )
    tree.files("/sys/fs/cgroup/slurm/job 7/step", {"cpu.max": "max 100000", "cpuset.cpus.effective": "0-3,8,10-11"})
    found = tree.find()
    assert found.version == "v2"
    assert found.quota() == 2.5
    assert found.cpus() == 7
    # 12 GiB, of which 8 are used, of those 3 could be dropped.
    assert found.memory_now() == Memory(limit=12 * GIB, available=7 * GIB, cached=4 * GIB, swap=GIB // 2, shared=GIB)
    assert found.throttling() == (200, 50)
    assert found.cpu_seconds() == 5.0


def test_v2_without_limits(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.groups("0::/user.slice\n")
    tree.files("/sys/fs/cgroup/user.slice", {"cpu.max": "max 100000", "memory.max": "max", "memory.current": GIB})
    found = tree.find()
    assert (found.quota(), found.memory_now(), found.cpu_seconds()) == (None, None, None)


def test_v1_has_a_mount_for_each_controller(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct")
    tree.mount("/sys/fs/cgroup/memory", "cgroup", "memory")
    tree.mount("/sys/fs/cgroup/cpuset", "cgroup", "cpuset")
    tree.groups("4:memory:/a\n3:cpuset:/a\n2:cpu,cpuacct:/a/b\n")
    tree.files(
        "/sys/fs/cgroup/cpu,cpuacct/a",
        {
            "cpu.cfs_quota_us": 50000,
            "cpu.cfs_period_us": 100000,
            "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 9",
            "cpuacct.usage": 2_500_000_000,
        },
    )
    tree.files("/sys/fs/cgroup/cpu,cpuacct/a/b", {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000})
    tree.files("/sys/fs/cgroup/cpuset/a", {"cpuset.effective_cpus": "2"})
    tree.files(
        "/sys/fs/cgroup/memory/a",
        {
            "memory.limit_in_bytes": 4 * GIB,
            "memory.usage_in_bytes": 3 * GIB,
            "memory.stat": f"inactive_file 0\ncache 1\ntotal_inactive_file {GIB}\ntotal_cache {2 * GIB}\ntotal_swap 7",
        },
    )
    tree.files("/sys/fs/cgroup/memory", {"memory.limit_in_bytes": UNLIMITED_V1, "memory.usage_in_bytes": 9 * GIB})
    found = tree.find()
    assert found.version == "v1"
    assert found.quota() == 0.5
    assert found.cpus() == 1
    assert found.memory_now() == Memory(limit=4 * GIB, available=2 * GIB, cached=2 * GIB, swap=7)
    assert found.throttling() == (10, 4)
    assert found.cpu_seconds() == 2.5


def test_hybrid_limits_by_v1(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup/memory", "cgroup", "memory")
    tree.mount("/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")
    tree.groups("4:memory:/a\n0::/u\n")
    tree.files("/sys/fs/cgroup/memory/a", {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB})
    tree.files("/sys/fs/cgroup/unified/u", {"cpu.max": "300000 100000"})
    found = tree.find()
    assert found.version == "hybrid"
    assert found.memory_now() == Memory(limit=2 * GIB, available=GIB)
    assert found.quota() == 3.0


def test_systemd_s_own_v1_mount_beside_v2_is_v2(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd")
    tree.mount("/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")
    tree.groups("1:name=systemd:/\n0::/\n")
    assert tree.find().version == "v2"


def test_container_with_the_hosts_path(tree: Tree) -> None:
    # Docker with v1 and without a cgroup namespace: the path is the host's, and only its end is mounted.
    tree.mount("/sys/fs/cgroup/cpu", "cgroup", "cpu,cpuacct", top="/docker/abc")
    tree.groups("2:cpu,cpuacct:/docker/abc\n")
    tree.files("/sys/fs/cgroup/cpu", {"cpu.cfs_quota_us": 150000, "cpu.cfs_period_us": 100000})
    assert tree.find().quota() == 1.5


def test_invisible_group_falls_back_to_the_mount(tree: Tree) -> None:
    tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
    tree.groups("0::/../../elsewhere\n")
    tree.files("/sys/fs/cgroup", {"cpu.max": "400000 100000"})
    assert tree.find().quota() == 4.0


def limited(tree: Tree, version: str, used: float, periods: int, throttled: int) -> CGroup:
    """A group with a tenth of a core and 1 GiB; `used` in CPU seconds."""
    if version == "v2":
        if not tree.mounted:
            tree.mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
        tree.groups("0::/job\n")
        tree.files(
            "/sys/fs/cgroup/job",
            {
                "cpu.max": "5000 50000",
                "cpu.stat": f"usage_usec {round(used * 1e6)}\nnr_periods {periods}\nnr_throttled {throttled}",
                "memory.max": GIB,
                "memory.current": GIB // 2,
                "memory.swap.current": 7,
                "memory.stat": f"file {GIB // 4}\nshmem 4096\ninactive_file {GIB // 8}",
            },
        )
        return tree.find()
    if not tree.mounted:
        for controllers in ("cpu,cpuacct", "memory"):
            tree.mount(f"/sys/fs/cgroup/{controllers}", "cgroup", controllers)
    tree.groups("4:memory:/job\n2:cpu,cpuacct:/job\n")
    tree.files(
        "/sys/fs/cgroup/cpu,cpuacct/job",
        {
            "cpu.cfs_quota_us": 5000,
            "cpu.cfs_period_us": 50000,
            "cpu.stat": f"nr_periods {periods}\nnr_throttled {throttled}\nthrottled_time 9",
            "cpuacct.usage": round(used * 1e9),
        },
    )
    tree.files(
        "/sys/fs/cgroup/memory/job",
        {
            "memory.limit_in_bytes": GIB,
            "memory.usage_in_bytes": GIB // 2,
            "memory.stat": f"total_cache {GIB // 4}\ntotal_shmem 4096\ntotal_inactive_file {GIB // 8}\ntotal_swap 7",
        },
    )
    return tree.find()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_versions_give_the_same_machine_and_samples(
    version: str, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests with real groups below show for the version that this machine has."""
    group = limited(tree, version, used=3.0, periods=100, throttled=10)
    assert group.version == version
    for module in (machine, sampler):
        monkeypatch.setattr(module, "find_cgroup", lambda: group)
    for variable in list(os.environ):
        if variable.startswith("SLURM_"):
            monkeypatch.delenv(variable)
    found = machine.inspect_machine()
    assert (found.cgroup, found.usable_cores, found.memory_limit) == (version, 0.1, GIB)
    assert found.memory_available == GIB - (GIB // 2 - GIB // 8)
    samples = Sampler(lambda: ())
    first = samples.sample()
    limited(tree, version, used=3.02, periods=120, throttled=25)
    time.sleep(0.25)  # CPU times have steps of a hundredth of a second
    second = samples.sample()
    samples.close()
    assert (first.throttled_share, second.throttled_share) == (None, 0.75)
    assert (second.usable_cores, second.ram_total, second.ram_cached, second.swap_used) == (0.1, GIB, GIB // 4, 7)
    assert second.ram_available == found.memory_available
    assert second.shm_total is None or second.shm_total <= GIB
    # 0.02 CPU seconds of the tenth of a core that it had in the interval.
    assert second.cpu_percent is not None
    share = 100 * 0.02 / (0.1 * (second.mono - first.mono))
    assert second.cpu_percent == pytest.approx(min(100.0, share), abs=0.1)
