"""One sample of the whole machine at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.hardware.cgroup import find_cgroup
from gputrain.engine.monitor.disk import Disks
from gputrain.engine.monitor.gpus.gpu_threads import OPEN_PATIENCE, GpuThreads
from gputrain.engine.monitor.host import Clocks, Cpu, Net, Ram
from gputrain.engine.monitor.pressure import Pressure
from gputrain.engine.monitor.processes.foreign_processes import ForeignProcesses
from gputrain.engine.monitor.processes.process_owners import LETTERS, ProcessOwners
from gputrain.engine.monitor.processes.process_tree import ProcessTree, TreeFigures


def next_due(due: float, interval: float) -> float:
    """When the sample after the one that was due at `due` is to be taken; after one that took long, a whole interval
    later: rates over some milliseconds tell nothing."""
    now = time.monotonic()
    return due + interval if due + interval > now else now + interval


_LIST, _LARGEST, _LETTERS_OF_LIST = 24, 12, 160
"""Other processes of a list: those that compute, those told for their memory, and the length of their commands."""


class Sampler:
    """Reads all sensors; `sample` and `close` are called on one thread.

    What is absent or fails is None in the sample. Nothing here waits for long: GPUs are read on threads of their
    own, and a sample takes those answers that came in time.
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
        """`run_pids` gives the roots of the run's process tree, `data_path` is where its data lies.

        `gpus` has NVML's numbers of the GPUs to read; None: all. The first sample waits `gpu_patience` seconds for the
        driver. `root_role`: as in `ProcessTree`. `for_list`: with more of the other processes and of their commands,
        where samples are shown and not recorded.
        """
        cgroup = find_cgroup()
        self._gpus = GpuThreads(gpus, gpu_patience)
        self._cpu = Cpu(cgroup)
        self._clocks = Clocks()
        self._ram = Ram(cgroup)
        self._net = Net()
        self._disks = Disks(data_path)
        self._pressure = Pressure(cgroup)
        self._tree = ProcessTree(run_pids, root_role=root_role)
        self._owners = ProcessOwners(letters=_LETTERS_OF_LIST if for_list else LETTERS)
        self._strangers = (
            ForeignProcesses(self._owners, most=_LIST, largest=_LARGEST) if for_list else ForeignProcesses(self._owners)
        )
        self._at: float | None = None

    def sample(self) -> HardwareSample:
        """The machine now; rates are means since the call before (and None in the first sample)."""
        gpus, gpu_error = self._gpus.read()
        # After the GPUs, whose answers may have taken some time: all else is read at one moment.
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
            run_cache_hit=tree.cache_hit,
            processes=tree.processes,
            other_processes=self._strangers.read(tree.pids | {os.getpid()}),
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
            self._ram,
            self._net,
            self._disks,
            self._pressure,
            self._tree,
        ):
            part.close()

    def _described(self, gpu: GpuSample, ours: frozenset[int]) -> GpuSample:
        """`gpu` with its processes named."""
        if not gpu.processes and not gpu.instances:
            return gpu
        instances = tuple(
            msgspec.structs.replace(one, processes=tuple(self._owners.describe(p, ours) for p in one.processes))
            for one in gpu.instances
        )
        processes = tuple(self._owners.describe(process, ours) for process in gpu.processes)
        return msgspec.structs.replace(gpu, processes=processes, instances=instances)


def _foreign(busy: float | None, tree: TreeFigures) -> float | None:
    """Cores that others kept busy; the kernel's two counts are of slightly different moments."""
    if busy is None:
        return None
    if not tree.pids:
        return busy
    return None if tree.cpu is None else round(max(0.0, busy - tree.cpu), 3)
