"""Runs on several hosts: network namespaces with addresses of their own, a real sshd in each, gloo ranks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from fakes.images import dark_and_light
from fakes.network_hosts import Network, needs_network_hosts, network_hosts
from fakes.nvml import NvmlStandIn, build
from helpers.tui.drawing import text

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.configuration import settings
from gputrain.engine.events import (
    AnyEvent,
    CheckpointSaved,
    EpochEnded,
    ModelReady,
    NodeSample,
    Notice,
    Outcome,
    RunEnded,
    Steps,
)
from gputrain.engine.events.commands import StopCommand
from gputrain.engine.launching import launch
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.panels.ranks import draw_ranks

TIMEOUT = 240.0
T = TypeVar("T", bound=AnyEvent)
pytestmark = [needs_network_hosts(), pytest.mark.long, pytest.mark.xdist_group("hosts")]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Outside of pytest's own folders: one test hides those."""
    made = Path(tempfile.mkdtemp(prefix="gputrain-hosts-"))
    dark_and_light(made / "images", 16)
    yield made
    shutil.rmtree(made)


def environment(home: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "GPUTRAIN_HOME": str(home), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Network]:
    """Two hosts that share all files."""
    with network_hosts(folder / "shared", ["node-a", "node-b"], environment(folder / "home")) as network:
        yield network


@pytest.fixture
def network(shared: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setenv("GPUTRAIN_SSH", shared.ssh)
    yield shared
    kill_runs()


def kill_runs() -> None:
    """End the run of a test that failed, and wait until nothing is left of it."""
    for listed in run_directory.list_runs():
        if listed.status is not None and listed.run.is_live():
            with contextlib.suppress(psutil.Error):
                psutil.Process(listed.status.pid).kill()


def started(folder: Path, **values: Any) -> RunDir:
    base = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(folder / "images"), "image_size": 32}
    base |= {"val_resize": 36, "batch_size": 4, "num_workers": 0, "width": 4, "precision": "fp32", "epochs": 2}
    return launch.launch(settings.build(base | values))


def record(run: RunDir) -> list[AnyEvent]:
    return list(event_log.read(run.events)) if run.events.exists() else []


def of(kind: type[T], events: list[AnyEvent]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def until(run: RunDir, done: Callable[[list[AnyEvent]], bool]) -> list[AnyEvent]:
    """The record once `done` holds for it."""
    deadline = time.monotonic() + TIMEOUT
    while not done(events := record(run)):
        assert time.monotonic() < deadline, [event for event in events if isinstance(event, Notice | RunEnded)]
        assert not of(RunEnded, events), of(RunEnded, events)
        time.sleep(0.2)
    return events


def trains_again(events: list[AnyEvent], starts: int) -> bool:
    """A step was done after so many starts."""
    ready = of(ModelReady, events)
    return len(ready) >= starts and any(step.seq > ready[starts - 1].seq for step in of(Steps, events))


def ended(run: RunDir) -> tuple[RunEnded, list[AnyEvent]]:
    events = until_end(run)
    launch.wait_for_exit(run)
    return of(RunEnded, events)[-1], events


def until_end(run: RunDir) -> list[AnyEvent]:
    deadline = time.monotonic() + TIMEOUT
    while not of(RunEnded, events := record(run)):
        assert time.monotonic() < deadline, of(Notice, events)
        time.sleep(0.2)
    return events


def sampled(events: list[AnyEvent]) -> bool:
    """Whether both hosts were sampled twice, so that rates are known, and each rank's steps are."""
    counts = [sum(sample.host == name for sample in of(NodeSample, events)) for name in ("node-a", "node-b")]
    return min(counts) >= 2 and len(seen(events).ranks.recent()) == 2


def seen(events: list[AnyEvent]) -> Snapshot:
    store = RunStore()
    store.apply_all(events)
    return store.snapshot()


def stop(run: RunDir) -> None:
    attachment = launch.attach(run)
    attachment.send(StopCommand(checkpoint=False, sender="the test"))
    attachment.close()


def nothing_left(network: Network) -> None:
    """No agent, rank or data worker stays on any host."""
    left = [process for host in network.hosts for process in host.pythons()]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive, [process.cmdline() for process in alive]


def texts(events: list[AnyEvent]) -> list[str]:
    return [event.text for event in of(Notice, events)]


def losses(events: list[AnyEvent]) -> list[float | None]:
    return [event.train_loss for event in of(EpochEnded, events)]


def test_two_hosts_train_as_one_machine_does(network: Network, folder: Path) -> None:
    run = started(folder, hosts="node-a,node-b", seed=3)
    end, events = ended(run)
    assert end.outcome is Outcome.FINISHED, end
    assert of(ModelReady, events)[-1].ranks == 2
    meeting = next(text for text in texts(events) if "hosts meet at" in text)
    assert meeting == (
        f"2 ranks on 2 of 2 hosts meet at {network.hosts[0].address}: node-a, node-b; batch_size 4, "
        "accumulation_steps 1"
    )
    alone, same = ended(started(folder, devices=2, seed=3))
    assert alone.outcome is Outcome.FINISHED
    assert len(losses(events)) == 2
    assert losses(events) == pytest.approx(losses(same), rel=1e-5), "within rounding"
    nothing_left(network)


@pytest.mark.parametrize("fault", ["rank", "rank server", "agent", "node", "cut", "first node", "between"])
def test_a_lost_part_is_named_and_the_run_goes_on(network: Network, folder: Path, fault: str) -> None:
    run = started(
        folder, hosts="node-a,node-b", epochs=100_000, checkpoint_steps=4, rank_timeout=5 if fault == "between" else 20
    )
    host = network.hosts[0 if fault == "first node" else 1]
    before = until(run, lambda events: bool(of(CheckpointSaved, events)))
    began = time.monotonic()
    if fault == "rank":
        host.ranks()[0].kill()
        expected = "rank 1 on node-b was killed by SIGKILL from outside; max_restarts: trying again (try 1 of 3)"
    elif fault == "rank server":
        # The kernel kills its ranks with it.
        host.rank_servers()[0].kill()
        expected = "rank 1 on node-b was killed by SIGKILL from outside; max_restarts: trying again (try 1 of 3)"
    elif fault == "agent":
        host.agents()[0].kill()
        expected = "node node-b is lost: "
    elif fault == "between":
        # Both hosts still reach the supervisor.
        network.hosts[0].drop_packets_to(host.address)
        expected = "node-b can't reach node-a at "
    elif fault == "cut":
        host.cut()
        expected = "node node-b is lost: no heartbeat for "
    else:
        host.kill()
        expected = f"node {host.name} is lost: "
    try:
        events = until(run, lambda events: trains_again(events, 2))
        print(f"{fault}: {time.monotonic() - began:.1f} s from the fault to the first step after it")
        assert any(text.startswith(expected) for text in texts(events)), texts(events)
        saved = of(CheckpointSaved, before)[-1].step
        assert of(ModelReady, events)[-1].start_step >= saved, "it goes on from the newest checkpoint"
        ready = of(ModelReady, events)[-1]
        ranks = 2 if fault in ("rank", "rank server", "agent") and ready.ranks == 2 else 1
        assert ready.ranks == ranks
        if ranks == 1:
            assert any("each update has the same 8 images as before" in text for text in texts(events))
        stop(run)
        end, _ = ended(run)
        assert end.outcome is Outcome.STOPPED
    finally:
        if fault == "cut":
            host.mend()
        elif fault == "between":
            network.hosts[0].send_packets_to(host.address)
        elif "node" in fault:
            host.boot()
    nothing_left(network)


def test_a_host_that_comes_back_joins_after_a_checkpoint(network: Network, folder: Path) -> None:
    # Two ranks on each: those of a host that is left alone meet there.
    run = started(folder, hosts="node-a,node-b", devices=2, epochs=100_000, checkpoint_steps=4)
    until(run, lambda events: bool(of(CheckpointSaved, events)))
    network.hosts[1].kill()
    try:
        until(run, lambda events: trains_again(events, 2))
    finally:
        network.hosts[1].boot()
    events = until(run, lambda events: trains_again(events, 3))
    assert [event.ranks for event in of(ModelReady, events)] == [4, 2, 4]
    assert "node-b is back: it joins after the next checkpoint" in texts(events)
    joined = next(text for text in texts(events) if "node-b is back: starting again with it" in text)
    step = int(re.findall(r"checkpoint of step (\d+)", joined)[0])
    assert of(ModelReady, events)[-1].start_step == step, "no step is done twice"
    stop(run)
    assert ended(run)[0].outcome is Outcome.STOPPED
    nothing_left(network)


def test_too_few_hosts_end_the_run_with_the_remedy(network: Network, folder: Path) -> None:
    run = started(folder, hosts="node-a,node-b", epochs=100_000, checkpoint_steps=4, min_nodes=2)
    until(run, lambda events: bool(of(CheckpointSaved, events)))
    network.hosts[1].kill()
    try:
        end, _ = ended(run)
    finally:
        network.hosts[1].boot()
    assert end.outcome is Outcome.FAILED
    assert end.reason.startswith("min_nodes: 1 of 2 hosts are left, 2 are needed (node-b: ")
    assert end.reason.endswith(f"start the run again when they are back: gputrain-tui resume {run.id}")
    nothing_left(network)


def test_no_rank_outlives_a_killed_supervisor(network: Network, folder: Path) -> None:
    run = started(folder, hosts="node-a,node-b", epochs=100_000, checkpoint_steps=1000)
    until(run, lambda events: trains_again(events, 1))
    status = run.status()
    assert status is not None
    psutil.Process(status.pid).kill()
    nothing_left(network)
    assert list(run.checkpoints.glob("*.pt")), "the ranks saved a checkpoint before they ended"


def test_hosts_with_their_own_files_send_checkpoints_and_logs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "private-home"
    home.mkdir()
    monkeypatch.setenv("GPUTRAIN_HOME", str(home))
    nvml = NvmlStandIn(build(folder), folder / "nvml-script")
    nvml.gpus(2)
    with network_hosts(folder / "private", ["node-a", "node-b"], environment(home) | nvml.env, home) as network:
        monkeypatch.setenv("GPUTRAIN_SSH", network.ssh)
        run = started(folder, hosts="node-a,node-b", epochs=100_000, checkpoint_steps=4)
        events = until(run, lambda events: bool(of(CheckpointSaved, events)))
        saved = of(CheckpointSaved, events)[0]
        assert checkpoint_index.read_index(run.checkpoints)[0].file == saved.file, "what is announced has arrived"
        events = until(run, sampled)
        assert of(ModelReady, events)[0].host == "node-a"
        shown = text(draw_ranks(View(now=seen(events)), "own", 150, 40))
        for name in ("node-a", "node-b"):
            (line,) = [one for one in shown.splitlines() if one.startswith(f"{name} ") and "GPUs" in one]
            assert re.search(r"2 GPUs \d+", line), line
            assert len(re.findall(r"\d/\d", line)) == 2, f"disk and network: {line}"
        # The only copy that is left is the supervisor's.
        network.hosts[0].kill()
        events = until(run, lambda events: trains_again(events, 2))
        assert of(ModelReady, events)[-1].start_step >= saved.step > 0
        assert "[node-b] " in run.trainer_log.read_text()
        stop(run)
        assert ended(run)[0].outcome is Outcome.STOPPED
        nothing_left(network)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"hosts": "node-a,nowhere.invalid"}, r"hosts: nowhere\.invalid: .*resolve.*; try: ssh nowhere\.invalid true"),
        ({"hosts": "node-a,gone"}, r"hosts: gone: .*(No route to host|timed out).*; try: ssh gone true"),
        ({"hosts": "node-a,node-b:23"}, r"hosts: node-b:23: .*Connection refused.*; try: ssh node-b -p 23 true"),
        (
            {"remote_python": "/usr/bin/python3 -S"},
            r"hosts: node-[ab]: .*; name the Python there that has gputrain-tui with remote_python",
        ),
        ({"remote_python": "python3-bare"}, "install gputrain-tui there for .*, or name another with remote_python"),
        (
            {"master_addr": "127.0.0.1"},
            "master_addr: 127.0.0.1 is a loopback address, which no other host reaches; name another address of node-a",
        ),
        (
            {"master_addr": "192.0.2.7"},
            "master_addr: node-a can't listen at 192.0.2.7: Cannot assign requested address; it has: 10.",
        ),
    ],
)
def test_a_wrong_start_names_host_and_remedy(
    network: Network, folder: Path, values: dict[str, Any], reason: str
) -> None:
    if values.get("remote_python") == "python3-bare":
        bare = folder / "bare-python"
        bare.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {shutil.which("python3", path="/usr/bin:/bin")} -I "$@"\n')
        bare.chmod(0o755)
        values = {"remote_python": str(bare)}
    run = started(folder, **({"hosts": "node-a,node-b"} | values))
    end, _ = ended(run)
    assert end.outcome is Outcome.FAILED
    assert end.error.startswith("BadInput: ")
    assert re.search(reason, end.reason), end.reason
    nothing_left(network)


def test_a_blocked_port_is_named(network: Network, folder: Path) -> None:
    network.hosts[0].drop_packets_to(network.hosts[1].address)
    try:
        end, _ = ended(started(folder, hosts="node-a,node-b"))
    finally:
        network.hosts[0].send_packets_to(network.hosts[1].address)
    address = network.hosts[0].address
    assert end.reason.startswith(f"hosts: node-b can't reach node-a at {address} (no answer); open the ports between")
    nothing_left(network)
