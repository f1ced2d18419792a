"""Hardware samples: CPU, memory, disks, network, processes and GPUs at one moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.monitor.cpu_power import CpuPower
from gputrain.engine.monitor.disk import Disks
from gputrain.engine.monitor.gpus.gpu_threads import OPEN_PATIENCE, GpuThreads
from gputrain.engine.monitor.host import Clocks, Cpu, Ram
from gputrain.engine.monitor.network import Network
from gputrain.engine.monitor.pressure import Pressure
from gputrain.engine.monitor.processes.process_owners import LETTERS, ProcessOwners
from gputrain.engine.monitor.processes.process_tree import ProcessTree, TreeFigures
from gputrain.engine.monitor.processes.top_processes import TopProcesses


def next_due(due: float, interval: float) -> float:
    """Monotonic time of the next sample after the one due at `due`.

    After a sample that took long it is a whole interval away: rates over some milliseconds are meaningless.
    """
    now = time.monotonic()
    return due + interval if due + interval > now else now + interval


_LIST, _LARGEST, _LETTERS_OF_LIST = 24, 12, 160
"""For process lists: most processes by CPU, most by memory, and characters of a command line."""


class Sampler:
    """Reads all sensors; call `sample` and `close` from one thread.

    Values that are absent or fail are None. A sample never waits long: each GPU is read in its own thread, and the
    sample uses the answers that came in time.
    """

    def __init__(
        self,
        run_pids: Callable[[], Iterable[int]] = tuple,
        data_path: Path | None = None,
        gpus: frozenset[int] | None = None,
        gpu_patience: float = OPEN_PATIENCE,
        root_role: str = "",
        for_list: bool = False,
    ) -> None:
        """`run_pids` returns the roots of the run's process tree; `data_path` is the folder of its data.

        `gpus` has NVML's numbers of the GPUs to read; None: all. The first sample waits up to `gpu_patience` seconds
        for the driver. `root_role`: as in `ProcessTree`. `for_list`: list more of the other processes, with longer
        command lines, for samples that are shown and not recorded.
        """
        cgroup = find_cgroup()
        self._gpus = GpuThreads(gpus, gpu_patience)
        self._cpu = Cpu(cgroup)
        self._clocks = Clocks()
        self._cpu_power = CpuPower()
        self._ram = Ram(cgroup)
        self._net = Network()
        self._disks = Disks(data_path)
        self._pressure = Pressure(cgroup)
        self._tree = ProcessTree(run_pids, root_role=root_role)
        self._owners = ProcessOwners(letters=_LETTERS_OF_LIST if for_list else LETTERS)
        self._top_processes = (
            TopProcesses(self._owners, most=_LIST, largest=_LARGEST) if for_list else TopProcesses(self._owners)
        )
        self._at: float | None = None

    def sample(self) -> HardwareSample:
        """The machine now; rates are means since the last call, and None in the first sample."""
        gpus, gpu_error = self._gpus.read()
        # The GPUs' answers may take some time; everything else is read after them, at one moment.
        wall, now, began = time.time(), time.monotonic(), time.thread_time()
        seconds = now - self._at if self._at is not None else 0.0
        self._at = now
        cpu, ram = self._cpu.read(now), self._ram.read()
        tree = self._tree.read(seconds, cpu.forks)
        net_rx, net_tx = self._net.read(now)
        sample = HardwareSample(
            wall=wall,
            mono=now,
            interval=round(seconds, 3),
            cpu_percent=cpu.percent,
            per_core=cpu.per_core,
            usable_cores=self._cpu.usable,
            host_cores=self._cpu.host_cores,
            load_1m=self._clocks.load(),
            cpu_frequency=self._clocks.frequency(),
            cpu_temperature=self._clocks.temperature(),
            cpu_power=self._cpu_power.read(now),
            cpu_steal=cpu.steal,
            run_cpu=tree.cpu,
            foreign_cpu=_foreign(cpu.busy, tree),
            throttled_share=cpu.throttled,
            ram_total=ram.total,
            ram_available=ram.available,
            ram_used=ram.used,
            ram_cached=ram.cached,
            swap_used=ram.swap,
            run_rss=tree.rss,
            run_pss=tree.pss,
            run_read_rate=tree.read_rate,
            # 1 is what remains where the kernel counts no bytes from the disk.
            run_cache_hit=None if tree.cache_hit == 1 and not self._disks.counts_reads else tree.cache_hit,
            processes=tree.processes,
            other_processes=self._top_processes.read(tree.pids | {os.getpid()}),
            shm_used=ram.shm_used,
            shm_total=ram.shm_total,
            disk=self._disks.read(now),
            net_rx=net_rx,
            net_tx=net_tx,
            psi_cpu=self._pressure.some("cpu"),
            psi_io=self._pressure.some("io"),
            psi_memory=self._pressure.some("memory"),
            psi_memory_full=self._pressure.full("memory"),
            gpus=tuple(self._described(gpu, tree.pids) for gpu in gpus),
            gpu_error=gpu_error,
        )
        cost = time.thread_time() - began + self._gpus.take_cost()
        return msgspec.structs.replace(sample, sample_cost=round(cost, 6))

    def close(self) -> None:
        """Close all files and NVML."""
        for part in (
            self._gpus,
            self._cpu,
            self._clocks,
            self._cpu_power,
            self._ram,
            self._net,
            self._disks,
            self._pressure,
            self._tree,
        ):
            part.close()

    def _described(self, gpu: GpuSample, ours: frozenset[int]) -> GpuSample:
        """`gpu` with the names and owners of its processes."""
        if not gpu.processes and not gpu.instances:
            return gpu
        instances = tuple(
            msgspec.structs.replace(one, processes=tuple(self._owners.describe(p, ours) for p in one.processes))
            for one in gpu.instances
        )
        processes = tuple(self._owners.describe(process, ours) for process in gpu.processes)
        return msgspec.structs.replace(gpu, processes=processes, instances=instances)


def _foreign(busy: float | None, tree: TreeFigures) -> float | None:
    """Cores used by other programs; at least 0, as the kernel's two counts are from slightly different moments."""
    if busy is None:
        return None
    if not tree.pids:
        return busy
    return None if tree.cpu is None else round(max(0.0, busy - tree.cpu), 3)
