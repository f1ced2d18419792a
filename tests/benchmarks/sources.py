"""Compares the monitor's values with their sources:
``python tests/benchmarks/sources.py [--json]``.

Counters are read before and after each of two samples, by psutil, so that the monitor's rates must lie between what the
source can have counted in the meantime. Levels are compared with `free`, `df` and the load average; GPUs with
nvidia-smi, or with the script of the stand-in library where there is none. `iostat` stands beside, where it is
installed: its second begins a moment later. Meanwhile a file is written and a core is kept busy.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from fakes.nvml import RTX_3090, NvmlStandIn, build, compiler

from gputrain.engine.events import GpuSample, HardwareSample
from gputrain.engine.monitor.sampler import Sampler

MIB = 1 << 20
TICK = 0.01
"""Seconds in which the kernel counts CPU time."""
ROUNDING = 0.0005
"""Seconds by which a sample's interval may be rounded."""
LEVEL_SLACK = 256 * MIB
"""What other programs may take or give back between two looks at the memory."""


class Row(NamedTuple):
    """One value of the monitor, and the bounds given by its source."""

    figure: str
    ours: float | None
    low: float
    high: float
    source: str

    @property
    def agrees(self) -> bool:
        """Whether the value is within the bounds."""
        return self.ours is not None and self.low <= self.ours <= self.high


def counters() -> dict[str, float]:
    """Counters since boot, by psutil."""
    cores = os.sched_getaffinity(0)
    times = [core for number, core in enumerate(psutil.cpu_times(percpu=True)) if number in cores]
    disks = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    whole = [disk for name, disk in disks.items() if Path("/sys/block", name, "device").exists()]
    nics = psutil.net_io_counters(pernic=True, nowrap=False)
    cards = [nic for name, nic in nics.items() if Path("/sys/class/net", name, "device").exists()]
    outer = cards or [nic for name, nic in nics.items() if name.startswith("eth")]
    return {
        "cores busy": sum(one.user + one.nice + one.system + one.irq + one.softirq for one in times),
        "disk read, bytes/s": sum(one.read_bytes for one in whole),
        "disk written, bytes/s": sum(one.write_bytes for one in whole),
        "disk reads/s": sum(one.read_count for one in whole),
        "disk writes/s": sum(one.write_count for one in whole),
        "net received, bytes/s": sum(one.bytes_recv for one in outer),
        "net sent, bytes/s": sum(one.bytes_sent for one in outer),
    }


def rates(sample: HardwareSample) -> dict[str, float | None]:
    """The monitor's values under the same names."""
    disk = sample.disk
    return {
        "cores busy": sample.foreign_cpu,
        "disk read, bytes/s": disk.read_rate if disk else None,
        "disk written, bytes/s": disk.write_rate if disk else None,
        "disk reads/s": disk.read_iops if disk else None,
        "disk writes/s": disk.write_iops if disk else None,
        "net received, bytes/s": sample.net_rx,
        "net sent, bytes/s": sample.net_tx,
    }


Pair = tuple[dict[str, float], dict[str, float]]
"""Counters before and after a sample."""


def rate_rows(sample: HardwareSample, first: Pair, second: Pair) -> list[Row]:
    """Rows with the least and the most that the sources counted between the samples."""
    rows = []
    shortest, longest = sample.interval - ROUNDING, sample.interval + ROUNDING
    for name, value in rates(sample).items():
        low = (second[0][name] - first[1][name]) / longest
        high = (second[1][name] - first[0][name]) / shortest
        # Time is counted in ticks, and a core's ticks are not exactly of the clock's length.
        slack = 2 * TICK * len(os.sched_getaffinity(0)) / shortest + 0.05 * high if name == "cores busy" else 0.5
        rows.append(Row(name, value, low - slack, high + slack, "psutil, from /proc"))
    return rows


def levels() -> dict[str, float]:
    """Present levels by `free`, `df` and the kernel's load average."""
    free = subprocess.run(["free", "-b"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    memory, swap = (line.split() for line in free.stdout.splitlines()[1:3])
    found = {"RAM total": float(memory[1]), "RAM available": float(memory[6]), "swap used": float(swap[2])}
    with contextlib.suppress(subprocess.CalledProcessError):  # no /dev/shm
        df = subprocess.run(["df", "-B1", "--output=used", "/dev/shm"], capture_output=True, text=True, check=True)
        found["shm used"] = float(df.stdout.split()[-1])
    return {**found, "load": os.getloadavg()[0]}


def level_rows(sample: HardwareSample, before: dict[str, float], after: dict[str, float]) -> list[Row]:
    """Under a cgroup limit the monitor shows the group's own values, which `free` does not."""
    if sample.ram_total is not None and sample.ram_total < before["RAM total"]:
        return []
    ours = {
        "RAM total": sample.ram_total,
        "RAM available": sample.ram_available,
        "swap used": sample.swap_used,
        "shm used": sample.shm_used,
        "load": sample.load_1m,
    }
    slack = {"RAM total": 0.0, "load": 0.01}
    sources = {"shm used": "df", "load": "getloadavg"}
    return [
        Row(
            name,
            ours[name],
            min(before[name], after[name]) - slack.get(name, LEVEL_SLACK),
            max(before[name], after[name]) + slack.get(name, LEVEL_SLACK),
            sources.get(name, "free"),
        )
        for name in before
        if name in after
    ]


def work(seconds: float, folder: Path) -> None:
    """Write, flush and read a file, and keep a core busy."""
    end = time.monotonic() + seconds
    block = os.urandom(MIB)
    while time.monotonic() < end:
        with (folder / "work").open("wb") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


def scripted_gpus(folder: Path) -> bool:
    """Load the stand-in library with two GPUs into this process; returns whether that worked."""
    if compiler() is None:
        return False
    library = build(folder)
    stand_in = NvmlStandIn(library, folder / "script")
    stand_in.gpus(2)
    os.environ |= {"GPUTRAIN_NVML_SCRIPT": stand_in.env["GPUTRAIN_NVML_SCRIPT"]}
    # What is loaded already is found by its name.
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return True


def ours_of(gpu: GpuSample) -> dict[str, float | None]:
    """The values that nvidia-smi has, too."""
    return {
        "utilization, %": gpu.utilization,
        "memory used, MiB": gpu.memory_used / MIB if gpu.memory_used is not None else None,
        "power, W": gpu.power,
        "temperature, °C": gpu.temperature,
        "SM clock, MHz": gpu.sm_clock,
        "PCIe generation": gpu.pcie_generation,
        "PCIe lanes": gpu.pcie_width,
    }


def scripted() -> list[dict[str, float]]:
    """Values of the two GPUs in the stand-in's script."""
    figures = {name: float(str(value)) for name, value in RTX_3090.items() if name != "name"}
    one = {
        "utilization, %": figures["utilization"],
        "memory used, MiB": figures["memory_used"] / MIB,
        "power, W": figures["power"] / 1000,
        "temperature, °C": figures["temperature"],
        "SM clock, MHz": figures["sm_clock"],
        "PCIe generation": figures["pcie_generation"],
        "PCIe lanes": figures["pcie_width"],
    }
    return [one, one]


def nvidia_smi() -> list[dict[str, float]]:
    """nvidia-smi's values of each GPU, without missing ones."""
    query = "utilization.gpu,memory.used,power.draw,temperature.gpu,clocks.sm,pcie.link.gen.current"
    command = ["nvidia-smi", f"--query-gpu={query},pcie.link.width.current", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = list(ours_of(GpuSample(index=0)))
    found: list[dict[str, float]] = []
    for line in done.stdout.splitlines():
        gpu: dict[str, float] = {}
        for name, cell in zip(names, line.split(","), strict=True):
            with contextlib.suppress(ValueError):  # "[N/A]"
                gpu[name] = float(cell)
        found.append(gpu)
    return found


def gpu_rows(
    gpus: tuple[GpuSample, ...], before: list[dict[str, float]], after: list[dict[str, float]], source: str
) -> list[Row]:
    """Rows for each value of each GPU; values of a busy GPU may change by 10 % between two readings."""
    rows = []
    for gpu, first, last in zip(gpus, before, after, strict=True):
        ours = ours_of(gpu)
        for name in (name for name in first if name in last):
            low, high = min(first[name], last[name]), max(first[name], last[name])
            slack = 0.0 if source == "the script" else 1.0 + 0.1 * high
            rows.append(Row(f"GPU {gpu.index} {name}", ours[name], low - slack, high + slack, source))
    return rows


def compare(seconds: float, folder: Path) -> tuple[list[Row], str]:
    """The rows, and iostat's values for the same seconds."""
    smi = shutil.which("nvidia-smi") is not None
    source = "nvidia-smi" if smi else "the script"
    look = nvidia_smi if smi else scripted
    with_gpus = smi or scripted_gpus(folder)
    with contextlib.closing(Sampler(data_path=folder)) as sampler:
        before_first = counters()
        sampler.sample()
        after_first = counters()
        io = iostat(seconds)
        work(seconds, folder)
        first = levels(), look() if with_gpus else []
        before_second = counters()
        sample = sampler.sample()
        after_second = counters()
        last = levels(), look() if with_gpus else []
    rows = rate_rows(sample, (before_first, after_first), (before_second, after_second))
    rows += level_rows(sample, first[0], last[0])
    if with_gpus:
        rows += gpu_rows(sample.gpus, first[1], last[1], source)
    return rows, io_words(io, sample)


def iostat(seconds: float) -> subprocess.Popen[str] | None:
    """A report over the next whole seconds."""
    if shutil.which("iostat") is None:
        return None
    command = ["iostat", "-dxk", "-y", str(max(1, round(seconds))), "1", "-o", "JSON"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"})


def io_words(running: subprocess.Popen[str] | None, sample: HardwareSample) -> str:
    """iostat's and the monitor's values of the data disk."""
    if running is None:
        return "iostat is not installed"
    report = json.loads(running.communicate()[0])["sysstat"]["hosts"][0]["statistics"][0]["disk"]
    disks = {disk["disk_device"]: disk for disk in report}
    devices = sample.disk.devices if sample.disk else ()
    told = []
    for one in devices:
        if one.name in disks:
            theirs = disks[one.name]
            told.append(
                f"{one.name}: written {(one.write_rate or 0) / 1024:.0f} kB/s (iostat {theirs['wkB/s']:.0f}), "
                f"{one.write_iops or 0:.0f} writes/s ({theirs['w/s']:.0f}), "
                f"a write {(one.write_latency or 0) * 1000:.2f} ms ({theirs['w_await']:.2f}), "
                f"queue {one.queue or 0:.2f} ({theirs['aqu-sz']:.2f}), "
                f"busy {(one.busy or 0) * 100:.0f} % ({theirs['util']:.0f})"
            )
    return "; ".join(told) or "iostat knows none of our disks"


def main() -> int:
    """Returns 1 if a value is out of its bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, io = compare(options.seconds, Path(folder))
    if options.json:
        print(json.dumps({"rows": [{**row._asdict(), "agrees": row.agrees} for row in rows], "iostat": io}))
    else:
        print("| figure | monitor | source says | source |\n|---|---|---|---|")
        for row in rows:
            mark = "" if row.agrees else " **off**"
            print(f"| {row.figure} | {row.ours:,.6g}{mark} | {row.low:,.6g} to {row.high:,.6g} | {row.source} |")
        print(f"\n{io}")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
