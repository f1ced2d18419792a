"""A signal closes a screen in order: the terminal is as before, and a run that the command started is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fakes.images import dark_and_light
from helpers.tui.live_run import live_run
from helpers.tui.terminals import Terminal, modes, on_terminal

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.runs import event_log, run_directory

MODES = (1000, 1003, 1006, 1015, 1004, 1049, 2004)
"""Private modes of terminals: mouse reports, focus reports, alternate screen, bracketed paste."""
TERM, USR1, INT, HUP = signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    with live_run(tmp_path_factory.mktemp("live")) as found:
        yield found


def is_restored(terminal: Terminal) -> None:
    last = modes(bytes(terminal.raw))
    assert last[25], "the cursor is hidden"
    assert not [mode for mode in MODES if last.get(mode)]
    assert last.keys() >= {1000, 1003, 1006, 1049}, "the screen had set none of them"
    assert terminal.attributes() == terminal.attributes_before


@pytest.mark.long
@pytest.mark.parametrize(
    ("screen", "number"),
    [
        *(("monitor", number) for number in (TERM, USR1, INT, HUP)),
        ("launcher", TERM), ("runs", TERM), ("tail", TERM), ("tail", USR1), ("tail", INT),
    ],
)  # fmt: skip
def test_a_signal_restores_the_terminal(screen: str, number: signal.Signals, live: tuple[str, dict[str, str]]) -> None:
    """The process then ends by the signal, as without a screen; a run that it watched goes on."""
    run, env = live
    arguments, first = {
        "monitor": (("monitor",), "● monitoring"),
        "launcher": ((), "press Enter to start"),
        "runs": (("runs", "--screen"), "1 run sorted by newest"),
        "tail": (("tail", run), "● training"),
    }[screen]
    with on_terminal(*arguments, env=env) as terminal:
        terminal.shows(first)
        assert terminal.attributes() != terminal.attributes_before
        os.kill(terminal.process.pid, number)
        os.kill(terminal.process.pid, number)
        code, text = terminal.ended()
        assert code == -number
        is_restored(terminal)
        assert f"the screen was closed by {number.name}" in " ".join(text.split())
        if screen == "tail":
            assert f"run {run} continues; watch it again with" in " ".join(text.split())
    with on_terminal("tail", run, env=env) as terminal:
        terminal.shows("● training")


@pytest.mark.parametrize("delay", [0.3, 0.6, 0.9, 1.2, 1.5])
def test_a_signal_while_the_screen_opens_restores_the_terminal(delay: float) -> None:
    with on_terminal("monitor") as terminal:
        time.sleep(delay)
        os.kill(terminal.process.pid, TERM)
        assert terminal.ended()[0] == -TERM
        last = modes(bytes(terminal.raw))
        assert last.get(25, True)
        assert not [mode for mode in MODES if last.get(mode)]
        assert terminal.attributes() == terminal.attributes_before


@pytest.mark.long
@pytest.mark.parametrize("number", [TERM, USR1])
def test_the_dashboard_of_train_stops_its_run_after_a_checkpoint(number: signal.Signals, private_homes: Path) -> None:
    """As a step of `srun --pty` gets it: twice, at its time limit. The command waits for the checkpoint."""
    images = dark_and_light(private_homes / "images", 8)
    values = [
        "device=cpu", "dataset=imagefolder", "image_size=32", "val_resize=32", "val_split=", "batch_size=4", "width=4",
        "precision=fp32", "epochs=100000", "checkpoint_epochs=0", "num_workers=0",
    ]  # fmt: skip
    with on_terminal("train", "--recipe", "simple-cnn", "--data", str(images), *values) as terminal:
        terminal.shows("● training")
        os.kill(terminal.process.pid, number)
        time.sleep(0.02)
        os.kill(terminal.process.pid, number)
        code, text = terminal.ended()
        assert code == 75
        is_restored(terminal)
        assert "stopping after a checkpoint" in text
    (run,) = run_directory.directories()
    (ended,) = [event for event in event_log.read(run.events) if isinstance(event, RunEnded)]
    assert (ended.outcome, ended.preempted) == (Outcome.STOPPED, True)
    assert checkpoint_index.read_index(run.checkpoints)


def test_the_launcher_of_a_step_waits_for_the_run_that_it_started(private_homes: Path) -> None:
    """The step's signal goes to all of its processes."""
    step = {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0"}
    with on_terminal(env=step) as terminal:
        terminal.shows("press Enter to start")
        terminal.send(b"\r")
        terminal.until(lambda _: bool(run_directory.directories()) and run_directory.directories()[0].is_live())
        terminal.shows("d detach")
        for process in (psutil.Process(terminal.process.pid), *psutil.Process(terminal.process.pid).children(True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(TERM)
        code, text = terminal.ended()
        assert code == 75, text
        is_restored(terminal)
    (run,) = run_directory.directories()
    assert not run.is_live()
    *_, ended = event_log.read(run.events)
    assert isinstance(ended, RunEnded)
    assert ended.preempted
