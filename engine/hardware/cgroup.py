"""CPU and memory limits and counters of this process's cgroups: v1, v2, and both together (hybrid).

Any group from the process's own up to the topmost visible one may set a limit, so all of them are read. Sources:
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ in the kernel's tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gputrain.engine.hardware.mounts import Mount, read_mounts

Version = Literal["v1", "v2", "hybrid", "none"]
Folders = tuple[Path, ...]
"""A group's folder, then its parents' up to the top of the mount."""

_NO_LIMIT = 1 << 60
"""v1 writes a number near 2^63 where there is no limit."""


class Memory(Struct, frozen=True):
    """The tightest memory limit and the memory available under it, in bytes."""

    limit: int
    available: int
    """The limit less the used memory that cannot be dropped at once (``inactive_file`` can)."""
    cached: int | None = None
    """Page cache of the group with the least available memory; `swap` and `shared` (shmem with ``/dev/shm``)
    likewise."""
    swap: int | None = None
    shared: int | None = None


class CGroup(Struct, frozen=True, kw_only=True):
    """The groups of one process, by controller; a missing controller has no folders."""

    version: Version
    cpu: Folders = ()
    cpuset: Folders = ()
    memory: Folders = ()
    usage: Folders = ()
    """Groups that count CPU time (``cpuacct`` in v1)."""
    unified: Folders = ()

    def quota(self) -> float | None:
        """Cores that the CPU quota allows (0.5: half of one); None without a quota."""
        quotas = [found for folder in self.cpu if (found := _quota(folder)) is not None]
        return min(quotas, default=None)

    def cpus(self) -> int | None:
        """Number of CPUs in the group's cpuset; None without one."""
        for folder in self.cpuset[:1]:
            for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
                if text := _read(folder / name):
                    return _count(text)
        return None

    def memory_now(self) -> Memory | None:
        """The memory of the group with the least available; None without a limit."""
        found = [one for folder in self.memory if (one := _memory(folder)) is not None]
        if not found:
            return None
        tightest = min(found, key=lambda one: one.available)
        return msgspec.structs.replace(tightest, limit=min(one.limit for one in found))

    def throttling(self) -> tuple[int, int] | None:
        """Quota periods so far, and how many of them were throttled; None without a quota."""
        for folder in self.cpu:
            if _quota(folder) is not None:
                counts = _table(_read(folder / "cpu.stat"))
                if "nr_periods" in counts and "nr_throttled" in counts:
                    return counts["nr_periods"], counts["nr_throttled"]
        return None

    def cpu_seconds(self) -> float | None:
        """CPU seconds used by all processes of the group with the tightest quota; None without a quota."""
        quotas = [_quota(folder) for folder in self.cpu]
        least = self.quota()
        for level, quota in enumerate(quotas):
            if least is not None and quota == least:
                return self._used(level)
        return None

    def _used(self, level: int) -> float | None:
        if level < len(self.usage) and (text := _read(self.usage[level] / "cpuacct.usage")):
            return int(text) * 1e-9
        used = _table(_read(self.cpu[level] / "cpu.stat")).get("usage_usec")
        return None if used is None else used * 1e-6


def find_cgroup(proc: Path = Path("/proc"), root: Path = Path("/")) -> CGroup:
    """The groups of this process. `root` is a prefix of the mount points, for tests with fake trees."""
    paths: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        controllers, path = line.partition(":")[2].split(":", 1)
        for controller in controllers.split(","):
            paths[controller] = path
    mounts = read_mounts(proc)
    old = [mount for mount in mounts if mount.kind == "cgroup"]
    new = [mount for mount in mounts if mount.kind == "cgroup2"]
    unified = _folders(new, "", paths, root)

    def folders(controller: str) -> Folders:
        return _folders(old, controller, paths, root) or unified

    return CGroup(
        version=_version(old, new),
        cpu=folders("cpu"),
        cpuset=folders("cpuset"),
        memory=folders("memory"),
        usage=_folders(old, "cpuacct", paths, root),
        unified=unified,
    )


def _version(old: list[Mount], new: list[Mount]) -> Version:
    # A mount of v1 without a controller (name=systemd) limits nothing.
    limiting = any(mount.options & {"cpu", "cpuset", "memory"} for mount in old)
    if limiting:
        return "hybrid" if new else "v1"
    return "v2" if new else "none"


def _folders(mounts: list[Mount], controller: str, paths: dict[str, str], root: Path) -> Folders:
    """Folders of the process's group under the mount of `controller` (empty: v2)."""
    path = paths.get(controller)
    if path is None:
        return ()
    for mount in mounts:
        if controller and controller not in mount.options:
            continue
        top = root / mount.point.lstrip("/")
        # In a container without a cgroup namespace both are the host's path, of which only the end is mounted.
        inside = path.removeprefix(mount.root) if mount.root != "/" and path.startswith(mount.root) else path
        below = [part for part in inside.split("/") if part]
        own = top if ".." in below else top.joinpath(*below)
        if not own.is_dir():
            own = top  # the group's own folder is not visible here
        depth = len(own.relative_to(top).parts)
        return (own, *own.parents[:depth])
    return ()


def _quota(folder: Path) -> float | None:
    if text := _read(folder / "cpu.max"):
        quota, period = text.split()
        return None if quota == "max" else int(quota) / int(period)
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _memory(folder: Path) -> Memory | None:
    texts = [_read(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    limits = [int(text) for text in texts if text.isdigit() and int(text) < _NO_LIMIT]
    used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
    if not limits or not used:
        return None
    counts = _table(_read(folder / "memory.stat"))
    # v1 counts children only under its "total_" names.
    droppable = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    limit = min(limits)
    return Memory(
        limit,
        max(0, limit - max(0, int(used) - droppable)),
        cached=counts.get("total_cache", counts.get("file")),
        swap=_swap(folder, counts),
        shared=counts.get("total_shmem", counts.get("shmem")),
    )


def _swap(folder: Path, counts: dict[str, int]) -> int | None:
    text = _read(folder / "memory.swap.current")  # v2
    return int(text) if text.isdigit() else counts.get("total_swap")


def _count(ranges: str) -> int:
    """``0-3,8`` → 5."""
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def _table(text: str) -> dict[str, int]:
    """A file with lines of a name and a count."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str:
    """The file's text without the last line break; empty where it cannot be read."""
    try:
        return path.read_text(errors="surrogateescape").strip()
    except OSError:
        return ""
