"""The machine that a plan for a Slurm job assumes: the GPUs, cores and RAM of all its nodes together.

The login node's own hardware says little about them, so the plan says what it assumes and from where.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB, MIB, size
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.engine.slurm.slurm_commands import PartitionNodes
from gputrain.engine.slurm.slurm_options import SlurmOptions
from gputrain.profiles import assumed_machine, catalog

_UNKNOWN_GPU = GpuInfo(index=0, uuid="GPU-assumed", name="an unknown GPU", memory=16 * GIB, capability=(7, 0))
_RAM_OF_A_RANK = 32 * GIB
"""Assumed where neither the job's options nor sinfo say more: the login node's RAM has nothing to do with it."""
_UNITS = {"K": 1 << 10, "M": MIB, "G": GIB, "T": GIB << 10}


class JobMachine(Struct, frozen=True):
    """What a job will have, as far as it is known."""

    machine: Machine
    """All nodes of the job as one machine."""
    options: SlurmOptions
    """The job's options; cpus_per_task is set."""
    profile: str = ""
    """The profile that fits its GPUs; empty: found by the machine."""


def job_machine(options: SlurmOptions, nodes: PartitionNodes | None, here: Machine, profile: str) -> JobMachine:
    """The machine of a job. `nodes`: what sinfo says; `profile`: of ``--machine``, or empty. Raises BadInput."""
    _check_nodes(options, nodes)
    options = replace(options, cpus_per_task=_cpus(options, nodes))
    gpu, source, found = _gpu(options, nodes, here, profile)
    count = options.nodes * options.gpus_per_node
    cores = options.cpus_per_task * options.ranks
    memory = _memory(options, nodes)
    total = memory * options.nodes if memory else _RAM_OF_A_RANK * options.ranks
    parts = [
        f"{count} × {gpu.name}, {size(gpu.memory or 0)} ({source})" if gpu else "no GPU",
        f"{cores} cores",
        f"{size(total)} of RAM{'' if memory else ' (assumed; mem=SIZE says it)'}",
    ]
    machine = replace(
        here,
        hostname="Slurm job",
        usable_cores=float(cores),
        host_cores=cores,
        cpu_model="a CPU of the job's nodes",
        memory_total=total,
        memory_limit=total,
        memory_available=total,
        shm_total=total // 2,
        shm_used=0,
        gpus=(gpu,) * count if gpu else (),
        gpu_error="" if gpu else "the job asks for none",
        logout="",
        torch=None,
        assumed=f"planned for a Slurm job of {options.ranks} ranks: {', '.join(parts)}",
    )
    return JobMachine(machine, options, found)


def _check_nodes(options: SlurmOptions, nodes: PartitionNodes | None) -> None:
    if nodes is not None and options.gpus_per_node > nodes.gpus:
        has = f"has {nodes.gpus}" if nodes.gpus else "has none"
        where = f"of partition {options.partition}" if options.partition else "of the default partition"
        raise BadInput(f"--slurm: gpus-per-node is {options.gpus_per_node}, and a node {where} {has}")
    cores = options.cpus_per_task * options.ranks_per_node
    if nodes is not None and cores > nodes.cores:
        raise BadInput(
            f"--slurm: {options.ranks_per_node} × cpus-per-task={options.cpus_per_task} need {cores} cores, and a "
            f"node has {nodes.cores}; at most cpus-per-task={max(1, nodes.cores // options.ranks_per_node)}"
        )


def _cpus(options: SlurmOptions, nodes: PartitionNodes | None) -> int:
    """Cores of each rank: those asked for, else its GPU's share of the node. Raises BadInput."""
    if options.cpus_per_task:
        return options.cpus_per_task
    if nodes is None:
        raise BadInput("--slurm: sinfo does not say how many cores a node has: add cpus-per-task=N, cores for each GPU")
    return max(1, nodes.cores // max(options.ranks_per_node, nodes.gpus if options.gpus_per_node else 1))


def _gpu(
    options: SlurmOptions, nodes: PartitionNodes | None, here: Machine, profile: str
) -> tuple[GpuInfo | None, str, str]:
    """The GPU of a rank, from where that is known, and its profile or an empty text. Raises BadInput."""
    if not options.gpus_per_node:
        return None, "", profile
    if profile:
        return assumed_machine.gpu_of(catalog.load_profile(profile)), f"--machine {profile}", profile
    kind = options.gpu_kind or (nodes.gpu_kind if nodes else "")
    if kind and (name := _profile_for(kind)):
        return assumed_machine.gpu_of(catalog.load_profile(name)), f"Slurm's GPU {plain(kind, 40)}", name
    if here.gpus:
        return here.gpus[0], "as here", ""
    return _UNKNOWN_GPU, "assumed; --machine PROFILE names the job's GPU", ""


def _profile_for(kind: str) -> str:
    """The profile for Slurm's name of a GPU (``a100``, ``rtx_3090``, ``nvidia_h100_80gb``): the first; empty: none."""
    wanted = kind.lower().replace("_", "-").removeprefix("nvidia-").removeprefix("tesla-").removeprefix("geforce-")
    names = [entry.name for entry in catalog.profile_entries() if not entry.error]
    exact = [name for name in names if f"{name}-".startswith(f"{wanted}-")]
    longer = [name for name in names if "-" in name and wanted.startswith(f"{name.rpartition('-')[0]}-")]
    return next(iter(exact or sorted(longer, key=len, reverse=True)), "")


def _memory(options: SlurmOptions, nodes: PartitionNodes | None) -> int:
    """Bytes of RAM that the job has on a node; 0: unknown."""
    per_gpu = options.given.get("mem-per-gpu", "")
    asked = _bytes(options.given.get("mem", "")) or _bytes(per_gpu) * options.gpus_per_node
    return asked or (nodes.memory if nodes else 0)


def _bytes(text: str) -> int:
    """A size of sbatch, by default in MiB; 0 for an empty one, and for 0, which means all."""
    digits = text.rstrip("KMGT")
    return int(digits) * _UNITS[text[len(digits) :] or "M"] if digits else 0
