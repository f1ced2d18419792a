"""Which rank this process is, from the environment that its launcher set. Pure; imports no torch.

torchrun sets torch's own variables; so do Kubernetes' operators (PyTorchJob) and many scripts, without torchrun: the
launcher is then `ENVIRONMENT`. MPI and Slurm have variables of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

LOOPBACK = "127.0.0.1"
NODE_AGENT = "ssh"
"""`RankInfo.launcher` of ranks that an agent of `engine/nodes` started."""
ENVIRONMENT = "environment"
"""`RankInfo.launcher` of ranks with torch's variables that torchrun did not start."""
_OF_TORCH = ("torchrun", ENVIRONMENT)
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_PORT = 29500
"""torch's default MASTER_PORT."""
_LAUNCHERS: tuple[tuple[str, str, str, str, str], ...] = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)
"""Launcher, and its variables for rank, number of ranks, rank on this node and ranks of a node; the first set wins.

A batch script has SLURM_PROCID and SLURM_NTASKS as well, and is no rank: only srun sets SLURM_STEP_NUM_TASKS.
"""


@dataclass(frozen=True, slots=True)
class MeetingPoint:
    """Where the ranks of a group meet: a TCP store that rank 0 or a launcher serves."""

    host: str
    port: int
    listener: int | None = None
    """A listening socket's file descriptor, for rank 0; None: it opens the port."""
    served: bool = False
    """The launcher serves the store, not rank 0."""
    prefix: str = ""
    """Prefix of the group's keys: a store that a launcher keeps over restarts has the keys of the attempt before."""

    @property
    def is_local(self) -> bool:
        """All ranks are on this machine."""
        return self.host == LOOPBACK


@dataclass(frozen=True, slots=True)
class RankInfo:
    """This process among the ranks."""

    rank: int
    count: int
    local_rank: int
    """Number of this rank on its node; it uses the GPU of this number."""
    local_count: int
    """Ranks of this node, or the least that they can be."""
    launcher: str
    """What started the ranks, in words."""
    meeting: MeetingPoint
    interface: str = ""
    """Network interface that leads to the other machines; empty: gloo and NCCL choose one."""


def rank_info(environ: Mapping[str, str]) -> RankInfo | None:
    """This process's rank; None if no launcher set one, or for a single process.

    Raises BadInput naming a variable that is missing or wrong.
    """
    found = next((names for names in _LAUNCHERS if names[1] in environ and names[2] in environ), None)
    if found is None:
        return None
    launcher, rank_name, count_name, local_name, local_count_name = found
    if launcher == "torchrun" and "TORCHELASTIC_RUN_ID" not in environ:
        launcher = ENVIRONMENT
    count = _number(environ, count_name, 1)
    if count == 1:
        return None
    rank = _number(environ, rank_name, 0)
    if rank >= count:
        raise BadInput(f"{rank_name}: {rank} is not below {count_name}, {count}")
    beside = _number(environ, local_count_name, 1) if local_count_name in environ else 1
    # Kubernetes' operators set RANK and WORLD_SIZE alone: one process a pod.
    local = _number(environ, local_name, 0) if local_name in environ else rank % beside
    beside = max(beside, local + 1)
    # Slurm's ntasks-per-node is the most that a node may have.
    one_machine = beside == count and environ.get("SLURM_STEP_NUM_NODES", "1") == "1"
    return RankInfo(rank, count, local, beside, launcher, _meeting(environ, launcher, one_machine=one_machine))


def use_interface(environ: MutableMapping[str, str], name: str) -> None:
    """Let gloo and NCCL use a network interface, where the user has not named another; empty: as they choose."""
    for variable in _INTERFACES if name else ():
        environ.setdefault(variable, name)


def _meeting(environ: Mapping[str, str], launcher: str, *, one_machine: bool) -> MeetingPoint:
    host = environ.get("MASTER_ADDR", "")
    if one_machine and (launcher in _OF_TORCH or (launcher == "srun" and not host)):
        # This machine's own name, which torchrun and Slurm give, cannot be resolved on some, and in many containers.
        host = LOOPBACK
    if not host and launcher == "srun":
        host = first_host(environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", ""))
    if not host:
        by = "" if launcher == ENVIRONMENT else f", which {launcher} does not"
        raise BadInput(f"MASTER_ADDR: missing; set it to the address of rank 0's machine{by}")
    if launcher in _OF_TORCH and "MASTER_PORT" not in environ:
        raise BadInput("MASTER_PORT: missing; set it to a free port of rank 0's machine, the same for all ranks")
    port = _number(environ, "MASTER_PORT", 1) if "MASTER_PORT" in environ else _port(environ, launcher)
    if port > 65535:
        raise BadInput(f"MASTER_PORT: {port} is no port, at most 65535")
    served = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    # torchrun's store lives on over its restarts.
    restart = environ.get("TORCHELASTIC_RESTART_COUNT", "")
    prefix = f"gputrain/{environ.get('TORCHELASTIC_RUN_ID', '')}/{restart}" if restart else ""
    host = LOOPBACK if host == "localhost" else host
    return MeetingPoint(host, port, served=served, prefix=prefix)


def _port(environ: Mapping[str, str], launcher: str) -> int:
    """A port that the job steps of one node do not share."""
    if launcher != "srun":
        return _PORT
    job, step = environ.get("SLURM_JOB_ID", "0"), environ.get("SLURM_STEP_ID", "0")
    return 20000 + (int(job) * 7 + int(step)) % 10000 if job.isdecimal() and step.isdecimal() else _PORT


def first_host(nodes: str) -> str:
    """The first host of a Slurm list: ``node[03-05,9],gpu1`` → ``node03``; empty for an empty list."""
    head, bracket, rest = nodes.partition("[")
    if "," in head or not bracket:
        return head.partition(",")[0]
    inside, _, tail = rest.partition("]")
    first = inside.partition(",")[0].partition("-")[0]
    return head + first + tail.partition(",")[0].partition("[")[0]


def _number(environ: Mapping[str, str], name: str, least: int) -> int:
    text = environ[name].strip()
    # SLURM_NTASKS_PER_NODE may be "2(x3)".
    digits = text.partition("(")[0]
    if not digits.isdecimal() or len(digits) > 9 or int(digits) < least:
        raise BadInput(f"{name}: expected a whole number from {least} on, got '{plain(text, 40)}'")
    return int(digits)
