"""Ranks that a launcher starts: real torchrun, and processes with the environment of srun."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes.images import dark_and_light
from helpers.scripts.watched import LOCAL_TORCHRUN
from helpers.training.hanging_network import HANGING

from gputrain.engine import common
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.events import AnyEvent, EpochEnded, ModelReady, Notice, Outcome, RunEnded, Steps
from gputrain.engine.processes.rank_environment import MeetingPoint, RankInfo
from gputrain.engine.runs import event_log, run_directory
from gputrain.engine.supervision.launched import launched_run

TIMEOUT = 150.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dark_and_light(tmp_path_factory.mktemp("data") / "images", 16)


def config_file(images: Path, folder: Path, **values: Any) -> Path:
    base = {"device": "cpu", "dataset": "imagefolder", "data_dir": str(images), "image_size": 32, "val_resize": 36}
    base |= {"batch_size": 4, "num_workers": 0, "width": 4, "precision": "fp32", "epochs": 2}
    file = folder / "config.yaml"
    write_config(file, settings.build(base | values), {})
    return file


def record() -> list[AnyEvent]:
    """The record of the only run."""
    (listed,) = run_directory.list_runs()
    return list(event_log.read(listed.run.events))


def last(kind: type[Any]) -> Any:
    return [event for event in record() if isinstance(event, kind)][-1]


def test_torchrun(images: Path, tmp_path: Path) -> None:
    file = config_file(images, tmp_path, global_batch_size=16)
    command = [*LOCAL_TORCHRUN, "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "gputrain.engine", str(file)], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "rank 0 of 2 (torchrun)" in done.stdout
    assert last(RunEnded).outcome is Outcome.FINISHED
    assert last(ModelReady).ranks == 2
    # 4 images × 2 ranks × 2 steps each update; both ranks have half of the 32 images of an epoch.
    assert last(Steps).images == 2 * 32
    assert last(EpochEnded).step == 2 * 4
    # The ranks were compared before the first step.
    texts = [event.text for event in record() if isinstance(event, Notice)]
    (checked,) = [text for text in texts if text.startswith("2 ranks on 1 node checked in ")]
    assert ": same code, torch " in checked
    assert ", settings and data (" in checked
    assert [text for text in texts if text.startswith("test all-reduce of 16 MiB over gloo: ")]


@contextlib.contextmanager
def srun(file: Path, *environs: dict[str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Two ranks with the environment of `srun -n 2`, without Slurm; `environs`: more variables of each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    own = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "here", "MASTER_ADDR": "localhost"}
    own |= {"MASTER_PORT": str(port)}
    command = [sys.executable, "-P", "-m", "gputrain.engine", str(file)]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **own, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), **more},
            text=True,
        )
        for rank, more in enumerate(environs or ({}, {}))
    ]
    try:
        yield ranks
    finally:
        for rank in ranks:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(rank.pid).children(recursive=True):
                    child.kill()
            rank.kill()
            rank.wait()


def until_training() -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if run_directory.list_runs() and any(isinstance(event, Steps) for event in record()):
            return
        time.sleep(0.2)
    pytest.fail("it did not train")


@pytest.mark.long
def test_a_rank_that_no_longer_answers_is_named_and_leaves_nothing(images: Path, tmp_path: Path) -> None:
    file = config_file(images, tmp_path, epochs=100_000, rank_timeout=3)
    with srun(file) as ranks:
        until_training()
        family = psutil.Process(ranks[0].pid).children(recursive=True)
        ranks[1].send_signal(signal.SIGSTOP)
        assert ranks[0].wait(TIMEOUT) == 1
        ended = last(RunEnded)
        assert ended.outcome is Outcome.KILLED
        assert ended.reason.startswith(f"rank 1 on {socket.gethostname()} has sent no heartbeat for ")
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        # The one that was stopped sees that rank 0 is gone.
        ranks[1].send_signal(signal.SIGCONT)
        assert ranks[1].wait(TIMEOUT) == 1


@pytest.mark.long
def test_a_signal_of_the_scheduler_ends_all_ranks_after_a_checkpoint(images: Path, tmp_path: Path) -> None:
    with srun(config_file(images, tmp_path, epochs=100_000)) as ranks:
        until_training()
        ranks[1].send_signal(signal.SIGTERM)
        assert [rank.wait(TIMEOUT) for rank in ranks] == [75, 75]
        assert last(RunEnded).outcome is Outcome.STOPPED
        (listed,) = run_directory.list_runs()
        assert list(listed.run.checkpoints.glob("*.pt"))


def test_without_a_launcher_it_says_what_to_do(images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no launcher has set RANK and WORLD_SIZE; without torchrun"):
        launched_run.train(config_file(images, tmp_path), {})


def test_a_batch_that_cannot_be_divided_is_refused(images: Path, tmp_path: Path) -> None:
    info = RankInfo(0, 3, 0, 1, "torchrun", MeetingPoint("127.0.0.1", 1))
    with pytest.raises(BadInput, match="global_batch_size: 16 images can't be divided among 3 devices"):
        launched_run.planned(config_file(images, tmp_path, global_batch_size=16), info)
    config, _ = launched_run.planned(config_file(images, tmp_path, global_batch_size=24), info)
    assert (config.devices, config.data.batch_size, config.optim.accumulation_steps) == (3, 4, 2)


@pytest.mark.long
def test_a_rank_with_other_source_is_refused(images: Path, tmp_path: Path) -> None:
    package = tmp_path / "other" / "gputrain"
    shutil.copytree(Path(common.__path__[0]).parent, package / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "engine" / "common" / "units.py").open("a") as source:
        source.write("# changed\n")
    with srun(config_file(images, tmp_path), {}, {"PYTHONPATH": str(package.parent)}) as ranks:
        assert [rank.wait(TIMEOUT) for rank in ranks] == [2, 1]
    ended = last(RunEnded)
    assert ended.error.startswith("BadInput: ")
    name = socket.gethostname()
    assert f"code: rank 1 on {name} has other source of gputrain than rank 0 on {name}; install" in ended.reason
    assert not any(isinstance(event, Steps) for event in record())


@pytest.mark.long
def test_no_rank_outlives_a_killed_torchrun(images: Path, tmp_path: Path) -> None:
    file = config_file(images, tmp_path, epochs=100_000)
    command = [*LOCAL_TORCHRUN, "--nproc-per-node", "2"]
    agent = subprocess.Popen([*command, "-m", "gputrain.engine", str(file)])
    family: list[psutil.Process] = []
    try:
        until_training()
        family = psutil.Process(agent.pid).children(recursive=True)
        agent.kill()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive
        assert isinstance(record()[-1], RunEnded), "the record has an end"
    finally:
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        agent.kill()
        agent.wait()


@pytest.mark.long
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_the_launched_rank_that_the_others_wait_for_is_named(sharding: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    values = {"model": "hanging:make", "code_dir": str(tmp_path), "hang_seconds": 8.0, "val_split": ""}
    with srun(config_file(images, tmp_path, epochs=100_000, sharding=sharding, **values)):
        deadline = time.monotonic() + TIMEOUT
        told: list[str] = []
        while not told and time.monotonic() < deadline:
            time.sleep(0.5)
            if run_directory.list_runs():
                told = [
                    event.text for event in record() if isinstance(event, Notice) and "has not entered" in event.text
                ]
    assert told
    assert f"rank 1 on {socket.gethostname()} has not entered the exchange of step " in told[0]
    assert f"({tmp_path}/hanging.py:14 in forward); 1 other waits for it since " in told[0]
    assert "; others have begun collective " in told[0]
