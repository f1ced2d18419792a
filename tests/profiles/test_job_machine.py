"""The machine that a plan for a Slurm job assumes."""

from __future__ import annotations

import pytest
from fakes.machines import NO_GPU

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import GIB
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.slurm import slurm_options
from gputrain.engine.slurm.slurm_commands import PartitionNodes
from gputrain.profiles.job_machine import JobMachine, job_machine
from gputrain.profiles.resolve_plan import resolve_plan

NODES = PartitionNodes(cores=64, memory=512 * GIB, gpus=8, gpu_kind="a100")


def planned(text: str, nodes: PartitionNodes | None = NODES, here: Machine = NO_GPU, profile: str = "") -> JobMachine:
    return job_machine(slurm_options.parse(text), nodes, here, profile)


def test_the_nodes_of_the_job_are_one_machine() -> None:
    job = planned("nodes=2,gpus-per-node=4")
    # Each GPU has its share of the node's cores.
    assert (job.options.cpus_per_task, job.profile) == (8, "a100-40gb")
    assert [gpu.name for gpu in job.machine.gpus] == ["NVIDIA A100-"] * 8
    assert (job.machine.usable_cores, job.machine.memory_limit) == (64, 1024 * GIB)
    assert job.machine.assumed == (
        "planned for a Slurm job of 8 ranks: 8 × NVIDIA A100-, 38 GiB (Slurm's GPU a100), 64 cores, 1024 GiB of RAM"
    )
    plan = resolve_plan(job.machine, recipe="demo", profile=job.profile, overrides={"devices": 8})
    assert plan.config.devices == 8
    assert not plan.refuses
    assert job.machine.assumed in plan.warnings


@pytest.mark.parametrize(
    ("kind", "profile"),
    [("h100", "h100-80gb"),
     ("nvidia_h100_80gb_hbm3", "h100-80gb"), ("v100", "v100-16gb"), ("rtx_3090", "rtx-3090-24gb"),
     ("a100-80gb", "a100-80gb"), ("tesla_t4", "t4-16gb"), ("mi300", "")],
)  # fmt: skip
def test_the_gpu_is_that_of_slurms_name(kind: str, profile: str) -> None:
    assert planned(f"gpus-per-node={kind}:2").profile == profile


def test_a_profile_wins_and_an_unknown_gpu_is_said() -> None:
    job = planned("gpus-per-node=2,cpus-per-task=4,mem=100G", profile="h200-141gb")
    assert "(--machine h200-141gb)" in job.machine.assumed
    assert (job.machine.usable_cores, job.machine.memory_limit) == (8, 100 * GIB)
    job = planned("gpus-per-node=2,cpus-per-task=4", nodes=None)
    assert "2 × an unknown GPU, 16 GiB (assumed; --machine PROFILE names the job's GPU)" in job.machine.assumed
    assert job.machine.assumed.endswith("8 cores, 64 GiB of RAM (assumed; mem=SIZE says it)")
    assert planned("gpus-per-node=2,mem-per-gpu=32G").machine.memory_limit == 64 * GIB


def test_what_the_partition_cannot_give() -> None:
    with pytest.raises(BadInput, match="gpus-per-node is 9, and a node of partition gpu has 8"):
        planned("partition=gpu,gpus-per-node=9")
    with pytest.raises(BadInput, match=r"sinfo does not say how many cores a node has: add cpus-per-task=N"):
        planned("gpus-per-node=2", nodes=None)
    with pytest.raises(BadInput, match="8 × cpus-per-task=9 need 72 cores, and a node has 64; at most cpus-per-task=8"):
        planned("gpus-per-node=8,cpus-per-task=9")
    job = planned("ntasks-per-node=4")
    assert (job.machine.gpus, job.options.cpus_per_task) == ((), 16)
