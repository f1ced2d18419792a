"""Ranks as a Kubeflow PyTorchJob starts them: by torch's variables alone, or by torchrun that PET_… configure."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.images import dark_and_light
from fakes.network_hosts import needs_network_hosts, network_hosts
from helpers.scripts.watched import TIMEOUT

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.events import AnyEvent, EpochEnded, ModelReady, Notice, Outcome, RunEnded
from gputrain.engine.node_check import meeting_host
from gputrain.engine.processes.rank_environment import ENVIRONMENT, MeetingPoint, RankInfo
from gputrain.engine.runs import event_log, run_directory

ENGINE = [sys.executable, "-P", "-m", "gputrain.engine"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--local-addr", "127.0.0.1", "-m", "gputrain.engine"]


def clean() -> dict[str, str]:
    """Our environment without what other launchers set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PET_", "OMPI_"))}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def master_and_worker(port: str, host: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """The variables of the two pods of a PyTorchJob with a master and a worker."""
    for rank in range(2):
        yield {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": host, "MASTER_PORT": port, "PYTHONUNBUFFERED": "1"}


def config_file(folder: Path, **values: Any) -> Path:
    images = dark_and_light(folder / "images", 16)
    base = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 36}
    base |= {"batch_size": 4, "num_workers": 0, "width": 4, "precision": "fp32", "epochs": 1, "name": "pods"}
    file = folder / "config.yaml"
    write_config(file, settings.build(base | values), {})
    return file


def run(file: Path, *words: str) -> list[str]:
    """Run both pods to their end; returns what they printed. Asserts that they end with 0."""
    pods = [
        subprocess.Popen(
            [*ENGINE, str(file), *words],
            env={**clean(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variables in master_and_worker(free_port())
    ]
    try:
        printed = [pod.communicate(timeout=TIMEOUT)[0] for pod in pods]
    finally:
        for pod in pods:
            pod.kill()
    assert [pod.returncode for pod in pods] == [0, 0], printed
    return printed


def newest() -> list[AnyEvent]:
    return list(event_log.read(run_directory.find("last").events))


def last(kind: type[Any]) -> Any:
    return [event for event in newest() if isinstance(event, kind)][-1]


@pytest.mark.long
def test_pods_train_and_go_on_where_they_ended(tmp_path: Path) -> None:
    printed = run(config_file(tmp_path), "--continue")
    assert "rank 0 of 2 (environment): " in printed[0]
    assert last(ModelReady).ranks == 2
    assert (last(RunEnded).outcome, last(EpochEnded).step) == (Outcome.FINISHED, 4)
    assert last(ModelReady).start_step == 0
    # The same command again, as a pod that was deleted gives it.
    (tmp_path / "more").mkdir()
    run(config_file(tmp_path / "more", data_dir=str(tmp_path / "images"), epochs=2), "--continue")
    assert len(run_directory.list_runs()) == 2
    assert last(ModelReady).start_step == 4
    assert (last(RunEnded).outcome, last(EpochEnded).step) == (Outcome.FINISHED, 8)


@pytest.mark.long
def test_torchrun_that_the_operator_configures(tmp_path: Path) -> None:
    """With nprocPerNode: the pod's own RANK and WORLD_SIZE are those of the pod, and torchrun starts two ranks."""
    pet = {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}
    pet |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": free_port()}
    done = subprocess.run(
        [*TORCHRUN, str(config_file(tmp_path))],
        env={**clean(), **pet},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "rank 0 of 2 (torchrun)" in done.stdout
    assert last(ModelReady).ranks == 2
    assert last(RunEnded).outcome is Outcome.FINISHED


@pytest.mark.long
@needs_network_hosts()
def test_pods_with_addresses_of_their_own(tmp_path: Path) -> None:
    """Two pods, each with a torchrun that PET_… configure: both write into one volume."""
    file, home, port = config_file(tmp_path), tmp_path / "volume", free_port()
    environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "GPUTRAIN_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with network_hosts(tmp_path / "hosts", ["pods-master-0", "pods-worker-0"], environment) as network:
        pods = []
        for number, host in enumerate(network.hosts):
            # A pod finds its own address by its name.
            interface, address = host.interface, host.address
            pet = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(number), "RANK": str(number)}
            pet |= {"PET_MASTER_ADDR": network.hosts[0].address, "PET_MASTER_PORT": port, "PET_LOCAL_ADDR": address}
            pet |= {"WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": interface}
            words = ["env", *(f"{name}={value}" for name, value in pet.items()), sys.executable]
            words += ["-m", "torch.distributed.run", "-m", "gputrain.engine", str(file)]
            command = [*shlex.split(network.ssh), host.name, shlex.join(words)]
            pods.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        try:
            printed = [pod.communicate(timeout=TIMEOUT)[0] for pod in pods]
        finally:
            for pod in pods:
                pod.kill()
        assert [pod.returncode for pod in pods] == [0, 0], printed
    (name,) = (home / "runs").iterdir()
    events = list(event_log.read(name / "events.jsonl"))
    assert "rank 0 of 2 (torchrun)" in printed[0]
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert ended.outcome is Outcome.FINISHED
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert [text for text in texts if text.startswith("2 ranks on 2 nodes checked in ")]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"RANK": "2"}, "RANK: 2 is not below WORLD_SIZE, 2"),
        ({"MASTER_PORT": None}, "MASTER_PORT: missing; set it to a free port of rank 0's machine, the same for all"),
    ],
)
def test_wrong_variables_are_named(changes: dict[str, str | None], text: str, tmp_path: Path) -> None:
    variables = {**clean(), **next(master_and_worker("29500")), **changes}
    environment = {name: value for name, value in variables.items() if value is not None}
    command = [*ENGINE, str(tmp_path / "config.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(text)
    assert "Traceback" not in done.stderr


def test_a_name_that_does_not_resolve_is_waited_for_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    info = RankInfo(1, 2, 0, 1, ENVIRONMENT, MeetingPoint("pods-master-0.invalid", 23456))
    monkeypatch.setattr(meeting_host, "_NAME_SECONDS", 0.2)
    monkeypatch.setattr(meeting_host, "_RETRY_SECONDS", 0.05)
    with pytest.raises(BadInput, match=r"MASTER_ADDR: rank 1 on .*: 'pods-master-0.invalid' can't be resolved on this"):
        meeting_host.require_reachable(info, {})
    # A name comes with the pod's service, some time after its start.
    answers = iter([set[str](), {"10.0.0.7"}])
    monkeypatch.setattr(meeting_host, "_addresses", lambda _: next(answers))
    monkeypatch.setattr(meeting_host, "_NAME_SECONDS", 30.0)
    meeting_host.require_reachable(info, {})
    assert next(answers, None) is None


def test_going_on_needs_a_name(tmp_path: Path) -> None:
    variables = {**clean(), **next(master_and_worker("29500"))}
    file = config_file(tmp_path, name="")
    command = [*ENGINE, str(file), "--continue"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        f"{file}: --continue finds the run to go on with by its name: set name\n",
    )
