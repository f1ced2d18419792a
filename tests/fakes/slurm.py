"""A real Slurm on this machine: munged, slurmctld and slurmd in a temporary folder, with nodes of two CPUs.

One node, this machine; or one on each of some network namespaces (`network_hosts`).

Jobs of the partition ``urgent`` preempt those of ``main``, the default.

Needs root and the Debian packages slurm-wlm and munge. Nothing is enforced (task/none, proctrack/linuxproc), as on
clusters whose administrators left the defaults, except that a requeued job starts again after 10 seconds instead of
120; or the processes of a step are tracked by cgroups of version 1 (proctrack/cgroup), which are killed as soon as the
step's first process has left.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fakes.network_hosts import Network

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_TIMEOUT = 60.0
_FREEZER = Path("/sys/fs/cgroup/freezer")
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket,cred_expire=10
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1
KillWait=30
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=120 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=120 State=UP
"""


def why_impossible() -> str:
    """Why Slurm cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else ""


def why_no_cgroups() -> str:
    """Why Slurm cannot track processes by cgroups here; empty if it can."""
    if missing := why_impossible():
        return missing
    return "" if (_FREEZER / "release_agent").exists() else f"proctrack/cgroup needs a cgroup of version 1: {_FREEZER}"


class Slurm:
    """Commands to the running cluster."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))},
            "SLURM_CONF": str(home / "slurm.conf"),
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin",
        }

    def run(self, *words: str) -> str:
        """The output of a command. Raises AssertionError with its errors if it fails."""
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}{self.logs()}"
        return done.stdout

    def submit(self, *words: str, **environ: str) -> int:
        """Submit a job with the arguments of sbatch and more variables. Returns its id."""
        before, self.environ = self.environ, {**self.environ, **environ}
        try:
            return int(self.run("sbatch", "--parsable", *words))
        finally:
            self.environ = before

    def job(self, number: int) -> dict[str, str]:
        """The fields of ``scontrol show job``: JobState, Restarts, ExitCode …"""
        words = self.run("scontrol", "show", "job", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: int, *states: str, seconds: float) -> dict[str, str]:
        """Wait until a job is in one of `states`; returns its fields."""
        deadline = time.monotonic() + seconds
        while (found := self.job(number))["JobState"] not in states:
            assert time.monotonic() < deadline, f"{found}{self.logs()}"
            time.sleep(0.5)
        return found

    def idle_nodes(self) -> int:
        """How many nodes wait for jobs; 0 while the controller does not answer."""
        asked = ["sinfo", "-h", "-N", "-p", "main", "-o", "%T"]
        done = subprocess.run(asked, env=self.environ, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        return done.stdout.split().count("idle")

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        return "".join(f"\n{log.name}:\n{log.read_text()[-1500:]}" for log in sorted(self.home.glob("*.log")))


@contextmanager
def running_slurm(
    proctrack: Literal["linuxproc", "cgroup"] = "linuxproc", network: Network | None = None
) -> Iterator[Slurm]:
    """A cluster that is up inside, and whose daemons are ended afterwards.

    `network`: its hosts are the nodes, not this machine; each must be able to resolve the names of all.
    """
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    home.chmod(0o755)
    host = socket.gethostname().partition(".")[0]
    places = {host: "127.0.0.1"} if network is None else {one.name: one.address for one in network.hosts}
    (home / "state").mkdir()
    for name in places:
        (home / f"spool-{name}").mkdir()
    key = home / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    ports = _free_ports()
    nodes = "\n".join(
        f"NodeName={name} NodeAddr={address} CPUs=2 RealMemory=4000 State=UNKNOWN" for name, address in places.items()
    )
    address = "127.0.0.1" if network is None else network.address
    config = _CONFIG.format(home=home, host=host, address=address, ports=ports, proctrack=proctrack, nodes=nodes)
    (home / "slurm.conf").write_text(config)
    (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n")
    slurm = Slurm(home)
    munged = [f"--{name.replace('_', '-')}={home / file}" for name, file in (
        ("socket", "munge.socket"), ("key_file", "munge.key"), ("pid_file", "munged.pid"), ("log_file", "munged.log"),
        ("seed_file", "munged.seed"),
    )]  # fmt: skip
    try:
        slurm.run("munged", "--force", *munged)
        slurm.run("slurmctld", "-f", str(home / "slurm.conf"))
        daemon = ("slurmd", "-f", str(home / "slurm.conf"))
        for one in () if network is None else network.hosts:
            slurm.run(*one.inside(*daemon, "-N", one.name))
        if network is None:
            slurm.run(*daemon)
        deadline = time.monotonic() + _TIMEOUT
        while slurm.idle_nodes() < len(places):
            assert time.monotonic() < deadline, slurm.logs()
            time.sleep(0.2)
        yield slurm
    finally:
        for name in (*(f"slurmd-{one}" for one in places), "slurmctld", "munged"):
            _end(home / f"{name}.pid")
        if proctrack == "cgroup":
            _remove_groups(_FREEZER / f"slurm_{socket.gethostname().partition('.')[0]}")
        shutil.rmtree(home, ignore_errors=True)


def _remove_groups(folder: Path) -> None:
    """Remove the empty groups that slurmd leaves behind."""
    for group in sorted((folder, *(path for path in folder.rglob("*") if path.is_dir())), reverse=True):
        with contextlib.suppress(OSError):
            group.rmdir()


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _end(pid_file: Path) -> None:
    """End the daemon whose pid the file holds, and wait for it."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 15)
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
    except (OSError, ValueError):
        return
