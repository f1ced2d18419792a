"""The limits of a Slurm job, as the variables of real jobs have them."""

from __future__ import annotations

import msgspec
import pytest

from gputrain.engine.hardware import slurm
from gputrain.engine.hardware.machine import host_memory, inspect_machine
from gputrain.engine.monitor.sampler import Sampler

BATCH = {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "1000"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.mark.parametrize(
    ("environ", "cores", "memory", "tasks"),
    [
        ({}, None, None, 1),
        (BATCH, 8, 1000 << 20, 1),
        (STEP, 4, 1000 << 20, 2),
        ({**STEP, "SLURM_CPUS_PER_TASK": ""}, 8, 1000 << 20, 2),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "3", "SLURM_MEM_PER_CPU": "500"}, 3, 1500 << 20, 1),
        ({**BATCH, "SLURM_MEM_PER_NODE": "0"}, 8, None, 1),  # --mem=0: all of the node's memory
        ({**BATCH, "SLURM_CPUS_ON_NODE": "8(x2)", "SLURM_MEM_PER_NODE": "-1"}, None, None, 1),
        ({name: value for name, value in STEP.items() if name != "SLURM_JOB_ID"}, None, None, 1),
    ],
)
def test_limits(environ: dict[str, str], cores: int | None, memory: int | None, tasks: int) -> None:
    assert slurm.job_cores(environ) == cores
    assert slurm.job_memory(environ) == memory
    assert slurm.step_tasks(environ) == tasks


def test_plans_and_samples_respect_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    before = inspect_machine()
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "700"}.items():
        monkeypatch.setenv(name, value)
    machine = inspect_machine()
    assert machine.usable_cores == min(1.0, before.usable_cores)
    assert machine.memory_limit == 700 << 20 < before.memory_limit
    assert machine.memory_available <= 700 << 20
    assert machine.memory_total == host_memory()[0]
    sampler = Sampler()
    sample = sampler.sample()
    sampler.close()
    assert (sample.usable_cores, sample.ram_total) == (machine.usable_cores, 700 << 20)
    assert sample.ram_available is not None
    assert sample.ram_available <= 700 << 20


def test_a_job_with_more_than_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = inspect_machine()
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "4096", "SLURM_MEM_PER_NODE": "99999999"}.items():
        monkeypatch.setenv(name, value)
    changed = {"memory_available", "shm_used"}
    after = inspect_machine()
    for name in msgspec.structs.asdict(before).keys() - changed:
        assert getattr(after, name) == getattr(before, name), name
