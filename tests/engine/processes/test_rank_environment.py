"""The environments of torchrun, a PyTorchJob of Kubernetes, mpirun and srun."""

from __future__ import annotations

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.processes.rank_environment import (
    ENVIRONMENT,
    MeetingPoint,
    RankInfo,
    first_host,
    rank_info,
)

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node-a",
    "MASTER_PORT": "29501",
    "TORCHELASTIC_RUN_ID": "job7",
    "TORCHELASTIC_RESTART_COUNT": "1",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
KUBERNETES = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "MASTER_ADDR": "10.0.0.1",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
}


def test_each_launcher() -> None:
    served = MeetingPoint("node-a", 29501, served=True, prefix="gputrain/job7/1")
    assert rank_info(TORCHRUN) == RankInfo(3, 4, 1, 2, "torchrun", served)
    assert rank_info(KUBERNETES) == RankInfo(1, 2, 0, 1, ENVIRONMENT, MeetingPoint("job-master-0", 23456))
    assert rank_info(MPI) == RankInfo(2, 4, 0, 1, "MPI", MeetingPoint("10.0.0.1", 29500))
    assert rank_info(SLURM) == RankInfo(5, 8, 1, 4, "srun", MeetingPoint("gpu07", 20000 + 1234 * 7))


def test_a_process_of_its_own() -> None:
    assert rank_info({}) is None
    assert rank_info({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert rank_info({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert rank_info({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None, "a batch script"


def test_ranks_of_one_machine_need_no_name() -> None:
    info = rank_info({**TORCHRUN, "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"})
    assert info is not None
    assert info.meeting.is_local
    assert info.meeting.port == 29501


def test_torchrun_within_a_slurm_job_counts() -> None:
    assert rank_info({**SLURM, **TORCHRUN}) == rank_info(TORCHRUN)


def test_the_store_of_each_restart_has_keys_of_its_own() -> None:
    infos = [rank_info({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": str(n)}) for n in range(2)]
    assert len({info.meeting.prefix for info in infos if info is not None}) == 2


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({**TORCHRUN, "RANK": "x"}, "RANK: expected a whole number from 0 on, got 'x'"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE: expected a whole number from 1 on, got '0'"),
        ({**TORCHRUN, "RANK": "4"}, "RANK: 4 is not below WORLD_SIZE, 4"),
        ({**TORCHRUN, "MASTER_PORT": "70000"}, "MASTER_PORT: 70000 is no port, at most 65535"),
        ({**KUBERNETES, "RANK": "2"}, "RANK: 2 is not below WORLD_SIZE, 2"),
        (
            {name: value for name, value in KUBERNETES.items() if name != "MASTER_ADDR"},
            "MASTER_ADDR: missing; set it to the address of rank 0's machine",
        ),
        (
            {name: value for name, value in KUBERNETES.items() if name != "MASTER_PORT"},
            "MASTER_PORT: missing; set it to a free port of rank 0's machine, the same for all ranks",
        ),
        (
            {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
            "MASTER_ADDR: missing; set it to the address of rank 0's machine, which MPI does not",
        ),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], text: str) -> None:
    with pytest.raises(BadInput) as error:
        rank_info(environ)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("", ""), ("a", "a"), ("a,b", "a"), ("n[03-05,9],gpu1", "n03"), ("a,n[1-2]", "a"), ("n[1]-ib,m", "n1-ib")],
)
def test_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_tasks_of_one_node_meet_without_its_name() -> None:
    environ = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2"}
    environ |= {"SLURM_STEP_NODELIST": "node[07-08]", "SLURM_JOB_ID": "5", "MASTER_PORT": "4711"}
    found = rank_info(environ)
    assert found is not None
    assert (found.meeting.host, found.meeting.port) == ("127.0.0.1", 4711)
    for more in ({"SLURM_STEP_NUM_TASKS": "4"}, {"SLURM_STEP_NUM_NODES": "2"}):
        found = rank_info({**environ, **more})
        assert found is not None
        assert found.meeting.host == "node07"
