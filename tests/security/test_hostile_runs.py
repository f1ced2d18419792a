"""Hostile run directories: every command and the runs screen, without terminal escapes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec
import pytest
from hostile import TEXTS, acts_on_a_terminal
from textual.widgets import Input, Static

from gputrain.engine import events
from gputrain.engine.events import AnyEvent, RunStarted, Steps, stamp
from gputrain.engine.remote.reconnecting_attachment import RemoteRun
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.remote_name import RemoteName
from gputrain.engine.runs.run_directory import RunDir, State, Status
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.cli import main
from gputrain.tui.screens.runs.runs_dialogs import PromptScreen
from gputrain.tui.screens.runs.runs_screen import RunsScreen

FORGED = "forged"
"""Begins a line of its own if a line break in a name is printed."""
NAMES = (
    "evil\x1b]0;pwn\x07",
    f"line\n{FORGED}: all is well\r\n{FORGED}",
    "\u202egnp.run\u202c",
    "\x9b31mred",
    os.fsdecode(b"\xff\xfe broken"),
    "[bold red]markup [@click=app.exit]x",
    "--yes",
)
COMMANDS = (
    ["runs"],
    ["runs", "--json"],
    ["mark", "RUN", "--note", "seen"],
    ["stop", "RUN"],
    ["tail", "RUN", "--plain", "--no-follow"],
    ["tail", "RUN", "--json", "--no-follow"],
    ["stacks", "RUN"],
    ["profile", "RUN", "--json"],
    ["diagnose", "RUN"],
    ["diagnose", "RUN", "--json"],
    ["compare", "RUN", "OTHER"],
    ["compare", "RUN", "OTHER", "--json"],
    ["export", "RUN", "RUN.csv"],
    ["export", "RUN", "RUN.onnx"],
    ["predict", "RUN"],
    ["resume", "RUN", "--plain"],
    ["clone", "RUN", "--plain"],
    ["log", "RUN", "--to", "nothing"],
    ["serve", "RUN", "--host", "no host"],
    ["prune", "--older", "1h", "--dry-run"],
    ["delete", "RUN"],
    ["delete", "RUN", "--yes"],
)


def make(name: str, text: str) -> RunDir:
    """A run that is over, with `name` as its directory and `text` wherever a text may stand; its plan is refused."""
    run = RunDir(run_directory.runs_home() / name)
    run.checkpoints.mkdir(parents=True)
    run.lock.touch()
    run.config.write_text("recipe: demo\ndata: nowhere\ntask: custom\nuser_dataset: nothing:here\n")
    began: AnyEvent = RunStarted(run_id=text, settings={}, origins={}, host=text, pid=1, version=text)
    step: AnyEvent = Steps(
        step=1, epoch=0, epoch_step=1, images=8, window_steps=1, window_seconds=1.0, images_per_second=8.0, loss=0.5,
        lr=0.1, data_wait=0.0, copy=None, compute=1.0, other=0.0,
    )  # fmt: skip
    told = [stamp(event, seq, 1.0, 1.0) for seq, event in enumerate((began, step), 1)]
    run.events.write_bytes(b"".join(events.encode(event) + b"\n" for event in told))
    status = Status(
        state=State.FAILED, started=1.0, heartbeat=2.0, ended=2.0, pid=1, pid_started=0, boot_id="", reason=text
    )
    run.write_status(msgspec.structs.replace(status, name=text, recipe=text, profile=text, metric=text, best=0.5))
    (run.directory / "marks.json").write_bytes(msgspec.json.encode({"name": "", "tags": [text], "note": ""}))
    return run


def check(shown: str) -> None:
    assert not acts_on_a_terminal(shown), ascii(shown)
    assert not [line for line in shown.splitlines() if line.startswith(FORGED)], ascii(shown)
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_command_on_a_hostile_run(
    private_homes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(private_homes)
    text = TEXTS[NAMES.index(name)].encode("utf-8", "replace").decode()
    words = {"RUN": str(make(name, text).directory), "OTHER": str(make("other", text).directory)}
    words |= {end: (name if not name.startswith("-") else "x") + end[3:] for end in ("RUN.csv", "RUN.onnx")}
    for command in COMMANDS:
        code = main.main([words.get(word, word) for word in command])
        out, err = capsys.readouterr()
        assert code in (0, 1, 2), command
        assert out or err, command
        check(out)
        check(err)
    assert [info.run.directory.name for info in run_directory.list_runs()] == ["other"]


def test_every_command_that_takes_a_run_is_tried() -> None:
    (commands,) = [one for one in main.parser()._actions if isinstance(one, argparse._SubParsersAction)]
    takers = {name for name, one in commands.choices.items() if any(action.dest == "run" for action in one._actions)}
    assert takers <= {command[0] for command in COMMANDS}


@pytest.mark.parametrize("name", NAMES[:2], ids=ascii)
async def test_the_runs_screen_on_a_hostile_run(private_homes: Path, name: str) -> None:
    make(name, TEXTS[NAMES.index(name)].encode("utf-8", "replace").decode())
    app = GpuTrainApp(first=RunsScreen)
    async with app.run_test(size=(200, 20)) as pilot:
        screen = app.screen
        while "1 run " not in str(screen.query_one("#head", Static).render()):
            await pilot.pause(0.01)
        await pilot.press("n")
        assert isinstance(app.screen, PromptScreen)
        (dialog,) = app.screen.query(".dialog").results()
        check(str(dialog.border_title))
        assert app.screen.query_one(Input).value == ""
        await pilot.press("escape", "d")
        check(str(app.screen.query_one(Static).render()))
        await pilot.press("escape", "e", *"seen", "enter")
        while "note saved for" not in (said := str(screen.query_one("#message", Static).render())):
            await pilot.pause(0.01)
        check(said)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_remote_runs_name_is_sanitized(name: str) -> None:
    found = RemoteRun(RemoteName("box", "last"), f"/home/me/runs/{name}")
    check(found.id)
    check(str(found.directory))
