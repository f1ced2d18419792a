"""Faults of a run on several hosts: network namespaces with a real sshd in each, two gloo ranks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import psutil
from fakes.network_hosts import Network, NetworkHost, network_hosts
from faultlab import TIMEOUT, Finding, Lab, Live, end, kill_tree, lost, newest_checkpoint

from gputrain.engine.diagnosis.recorded_run_review import review
from gputrain.engine.events import AnyEvent, CheckpointSaved, HardwareSample, ModelReady, Notice, RunStarted, Steps
from gputrain.engine.runs import run_directory

SETTINGS: dict[str, Any] = {"hosts": "node-a,node-b", "checkpoint_steps": 5, "num_workers": 0}
_LEFT_SECONDS = 60.0
Opening = RunStarted | ModelReady


def host_rank_killed(lab: Lab) -> Finding:
    """kill -9 of a rank on another host: named, and both hosts go on from the newest checkpoint."""
    return _tried(lab, 1, lambda host: host.ranks()[0].kill(), "rank 1 on node-b was killed by SIGKILL from outside")


def host_agent_killed(lab: Lab) -> Finding:
    """kill -9 of the agent of a host: its ranks end with it, and the run goes on."""
    return _tried(lab, 1, lambda host: host.agents()[0].kill(), "node node-b is lost: ")


def host_killed(lab: Lab) -> Finding:
    """All processes of a host are killed: the other goes on with the same images per update."""
    return _tried(lab, 1, lambda host: host.kill(), "node node-b is lost: ")


def host_of_two_ranks_killed(lab: Lab) -> Finding:
    """The same with two ranks on each host: those of the host that is left meet there."""
    return _tried(lab, 1, lambda host: host.kill(), "node node-b is lost: ", devices=2)


def first_host_killed(lab: Lab) -> Finding:
    """The same for the host of rank 0, at which the ranks meet."""
    return _tried(lab, 0, lambda host: host.kill(), "node node-a is lost: ")


def host_cut_off(lab: Lab) -> Finding:
    """A host's link goes down, without a packet: lost after node_timeout; its own ranks end, too."""
    return _tried(lab, 1, lambda host: host.cut(), "node node-b is lost: no heartbeat for ")


def first_host_cut_off(lab: Lab) -> Finding:
    """The same for the host of rank 0."""
    return _tried(lab, 0, lambda host: host.cut(), "node node-a is lost: no heartbeat for ")


def host_frozen(lab: Lab) -> Finding:
    """All processes of a host are suspended: lost after node_timeout."""

    def freeze(host: NetworkHost) -> None:
        for process in host.processes():
            process.suspend()

    return _tried(lab, 1, freeze, "node node-b is lost: no heartbeat for ")


def host_rank_frozen(lab: Lab) -> Finding:
    """A rank on another host is suspended, its agent is not: lost after rank_timeout, and started again."""

    def freeze(host: NetworkHost) -> None:
        for process in host.ranks():
            process.suspend()

    return _tried(lab, 1, freeze, "rank 1 on node-b has sent no heartbeat for ", rank_timeout=5)


def hosts_cut_off_from_each_other(lab: Lab) -> Finding:
    """Both hosts reach the supervisor, but not each other: the second one is left out after rank_timeout."""

    def drop(host: NetworkHost) -> None:
        host.drop_packets_to(host.address.rpartition(".")[0] + ".2")

    return _tried(lab, 1, drop, "node-b can't reach node-a at ", rank_timeout=5)


def host_cut_off_briefly(lab: Lab) -> Finding:
    """A link is down for 3 s: the run waits, and no step is repeated."""

    def cut(host: NetworkHost) -> None:
        host.cut()
        time.sleep(3.0)
        host.mend()

    return _without_restart(lab, cut)


def host_link_slow(lab: Lab) -> Finding:
    """For 10 s a link carries 256 kbit/s: the run is slow, and goes on."""

    def slow_down(host: NetworkHost) -> None:
        host.limit_link("256kbit")
        time.sleep(10.0)
        host.limit_link("")

    return _without_restart(lab, slow_down)


def hosts_supervisor_killed(lab: Lab) -> Finding:
    """kill -9 of the supervisor: the ranks save a checkpoint, and nothing stays on any host."""
    with _network(lab) as network:
        live = _training(lab)
        before = newest_checkpoint(live.run)
        os.kill(live.supervisor, signal.SIGKILL)
        left = _left(network)
        saved = newest_checkpoint(live.run)
        missing = lost(live.run)
        live.attachment.close()
        return Finding(not left and saved >= before, missing, f"checkpoint of step {saved}; left: {left}")


def first_host_disk_full(lab: Lab) -> Finding:
    """The disk of the host that writes checkpoints is full: it is said where, the run goes on, and the next checkpoint
    is saved once there is room."""
    with _network(lab, own_disks=True) as network:
        live = _training(lab)
        saved, since = newest_checkpoint(live.run), live.newest + 1
        ballast = network.hosts[0].sees(Path(os.environ["GPUTRAIN_HOME"]) / "ballast")
        _fill(ballast)
        told = live.until(Notice, lambda notice: "no checkpoint at step" in notice.text, since=since)
        named = "left: node-a:/" in told.text
        live.steps_on()
        kept = newest_checkpoint(live.run) >= saved
        ballast.unlink()
        live.until(CheckpointSaved, since=live.newest + 1)
        live.steps_on()
        again = [event for event in live.events if isinstance(event, ModelReady) and event.seq >= since]
        missing = lost(live.run)
        end(live)
        left = _left(network)
        return Finding(named and kept and not again and not left, missing, f"{told.text}; left: {left}")


def host_slow(lab: Lab) -> Finding:
    """A host computes at a fraction of its speed: its rank is named as the slow one, and nothing restarts."""
    with _network(lab) as network:
        # Steps of some work: what a rank waits for must not be their fixed cost.
        live = lab.launch(**SETTINGS | {"checkpoint_steps": 100, "image_size": 64, "val_resize": 64, "width": 16})
        live.until(Steps)
        since, said = live.newest + 1, ""
        deadline = time.monotonic() + TIMEOUT
        with _slowed(network.hosts[1].ranks()):
            while "Rank 1 " not in said and time.monotonic() < deadline:
                live.steps_on()
                said = _slow_rank([event for event in live.events if event.seq >= since or isinstance(event, Opening)])
        live.steps_on()
        again = [event for event in live.events if isinstance(event, ModelReady) and event.seq >= since]
        missing = lost(live.run)
        end(live)
        left = _left(network)
        return Finding("Rank 1 " in said and not again and not left, missing, f"{said}; left: {left}")


def _slow_rank(events: list[AnyEvent]) -> str:
    """What the hint on a slow rank says; empty without it. A machine with other programs gets other hints first."""
    calm = (
        msgspec.structs.replace(event, foreign_cpu=0.0, other_processes=(), psi_cpu=None, cpu_percent=50.0)
        if isinstance(event, HardwareSample)
        else event
        for event in events
    )
    hints = [finding.hint for finding in review(calm).findings]
    return next((hint.action for hint in hints if hint.id == "slow-rank"), "")


@contextlib.contextmanager
def _slowed(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that may run for a fifth of the time, as under a CPU quota."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for process in processes:
                process.suspend()
            time.sleep(0.2)
            for process in processes:
                process.resume()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _fill(ballast: Path) -> None:
    """Write until not one byte fits."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"0" * size)


@contextlib.contextmanager
def _network(lab: Lab, *, own_disks: bool = False) -> Iterator[Network]:
    """Two hosts. `own_disks`: each has a small disk of its own for its state folder."""
    folder = lab.folder / f"hosts-{lab.random.getrandbits(32):x}"
    home = Path(f"{folder}-home")
    environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "GPUTRAIN_HOME": str(home), "OMP_NUM_THREADS": "1"}
    here: dict[str, str] = {}
    if own_disks:
        home.mkdir()
        # The supervisor's run directory has the same path, so that the hosts do not see it.
        here["GPUTRAIN_HOME"] = str(home)
    made = network_hosts(folder, ["node-a", "node-b"], environment, home if own_disks else None)
    with made as network, mock.patch.dict(os.environ, GPUTRAIN_SSH=network.ssh, **here):
        try:
            yield network
        finally:
            # The run of a try that failed must not go on beside the next one.
            for listed in run_directory.list_runs():
                if listed.status is not None and listed.run.is_live():
                    kill_tree(listed.status.pid)


def _training(lab: Lab, **settings: Any) -> Live:
    """A run on both hosts that has a checkpoint."""
    live = lab.launch(**SETTINGS | settings)
    live.until(CheckpointSaved)
    time.sleep(lab.random.uniform(0, 1))
    return live


def _without_restart(lab: Lab, break_it: Callable[[NetworkHost], None]) -> Finding:
    """What `break_it` does to the second host, and undoes, must not start the ranks again."""
    with _network(lab) as network:
        live = _training(lab)
        since = live.newest + 1
        began = time.monotonic()
        break_it(network.hosts[1])
        live.until(CheckpointSaved, since=live.newest + 1)
        live.steps_on()
        seconds = time.monotonic() - began
        again = [event for event in live.events if isinstance(event, ModelReady) and event.seq >= since]
        missing = lost(live.run)
        end(live)
        return Finding(not again and not _left(network), missing, f"{len(again)} restarts", again=seconds)


def _tried(lab: Lab, number: int, break_it: Callable[[NetworkHost], object], expected: str, **settings: Any) -> Finding:
    with _network(lab) as network:
        live = _training(lab, **settings)
        since, saved = live.newest + 1, newest_checkpoint(live.run)
        began = time.monotonic()
        break_it(network.hosts[number])
        notice = live.until(Notice, lambda notice: notice.text.startswith(expected), since)
        named = time.monotonic() - began
        ready = live.until(ModelReady, since=notice.seq)
        live.until(Steps, since=ready.seq)
        seconds = time.monotonic() - began
        missing = lost(live.run) + max(0, saved - ready.start_step)
        end(live)
        network.hosts[number].mend()
        for process in network.hosts[number].processes():
            process.resume()
        left = _left(network)
        return Finding(not left, missing, f"{notice.text}{f'; left: {left}' if left else ''}", named, seconds)


def _left(network: Network) -> list[list[str]]:
    """Command lines of what stays on the hosts."""
    _, alive = psutil.wait_procs([one for host in network.hosts for one in host.pythons()], timeout=_LEFT_SECONDS)
    return [process.cmdline() for process in alive]
