"""The limits of a Slurm job, from the variables that Slurm sets in its environment.

Without task/affinity or task/cgroup Slurm does not enforce them: affinity and cgroups then show the whole node.
Source: sbatch(1) and srun(1), "OUTPUT ENVIRONMENT VARIABLES".
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from gputrain.engine.common.units import MIB


def job_cores(environ: Mapping[str, str] = os.environ) -> int | None:
    """Cores that this job may use on this node, in an srun step those of one task; None outside a job."""
    cores = _number(environ, "SLURM_CPUS_ON_NODE")
    per_task = _number(environ, "SLURM_CPUS_PER_TASK") if "SLURM_STEP_ID" in environ else None
    return min((found for found in (cores, per_task) if found), default=None)


def job_memory(environ: Mapping[str, str] = os.environ) -> int | None:
    """Bytes of memory that this job may use on this node; None outside a job, or without a limit."""
    if per_node := _number(environ, "SLURM_MEM_PER_NODE"):
        return per_node * MIB
    per_cpu, cores = _number(environ, "SLURM_MEM_PER_CPU"), _number(environ, "SLURM_CPUS_ON_NODE")
    return per_cpu * cores * MIB if per_cpu and cores else None


def step_tasks(environ: Mapping[str, str] = os.environ) -> int:
    """Tasks of this srun step: each of them runs the same command. 1 outside a step."""
    return _number(environ, "SLURM_STEP_NUM_TASKS") or 1


def in_step(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process belongs to an srun step: its signals go to all processes of the step."""
    return "SLURM_JOB_ID" in environ and "SLURM_STEP_ID" in environ


def _number(environ: Mapping[str, str], name: str) -> int | None:
    """A positive integer; None without one. Slurm writes 0 for "all memory"."""
    if "SLURM_JOB_ID" not in environ:
        return None
    text = environ.get(name, "")
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 16 else None
