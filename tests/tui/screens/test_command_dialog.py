"""The form for a command of the user's own: typed, checked, started through the launcher as `exec` starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers.tui.launching import Starts, launcher, menu, opened, press, shown, start_button, verdict_text
from helpers.tui.piloting import until
from textual.pilot import Pilot
from textual.widgets import Input

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import State
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.user_script.script_command import ScriptCommand, read_command
from gputrain.tui.actions.script.command_line import words
from gputrain.tui.actions.script.own_command import FieldError, Typed, preview, read_form
from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen
from gputrain.tui.screens.launcher.command_dialog import CommandScreen


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("python my_train.py --lr 0.1", ["python", "my_train.py", "--lr", "0.1"]),
        ("""python 'my train.py' "a 'b' c" d\\ e""", ["python", "my train.py", "a 'b' c", "d e"]),
        ("""python x.py '$HOME' '*.jpg' a\\|b""", ["python", "x.py", "$HOME", "*.jpg", "a|b"]),
        ("x --sizes [1,2] --name=a=b a~b a#b", ["x", "--sizes", "[1,2]", "--name=a=b", "a~b", "a#b"]),
        ('python -c "print(1)"', ["python", "-c", "print(1)"]),
        ('''python x.py "a\\"b" ""''', ["python", "x.py", 'a"b', ""]),
        ("sh -c 'cd x && python y.py > log'", ["sh", "-c", "cd x && python y.py > log"]),
    ],
)  # fmt: skip
def test_a_command_line_has_the_words_of_a_shell(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python x.py 'a b", "column 13: the quote ' is not closed"),
        ("python \"x.py 'a'", 'column 8: the quote " is not closed'),
        ("python x.py \\", "column 13: nothing follows the backslash"),
        ("python x.py $LR", "column 13: $ has a meaning in a shell"),
        ('python x.py "$LR"', "column 14: $ has a meaning in a shell, and none here; in single quotes"),
        ("cd x && python y.py", "column 6: & has a meaning in a shell"),
        ("python x.py > log", "column 13: > has a meaning"),
        ("python x.py *.jpg", "column 13: * has a meaning"),
        ("python x.py ~/data", "column 13: ~ has a meaning"),
        ("python x.py # no", "column 13: # has a meaning"),
        ("LR=1 python x.py", "column 1: a variable is set by env: env LR=… COMMAND"),
    ],
)
def test_what_only_a_shell_does_is_refused_at_its_column(text: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        words(text)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("typed", "field", "message"),
    [
        (Typed(), "command", "type the command, as in a shell"),
        (Typed(command="python '"), "command", "column 8: the quote"),
        (Typed(command="no-such-program x"), "command", "no-such-program: command not found"),
        (Typed(command="true", folder="/no/such"), "folder", "/no/such does not exist"),
        (Typed(command="true", folder="/etc/passwd"), "folder", "/etc/passwd is not a folder"),
        (Typed(command="true", folder="~nobody-here/x"), "folder", "no home directory"),
        (Typed(command="true", name="x" * 81), "name", "has at most 80 characters, got 81"),
        (Typed(command="true", tags="good b@d"), "tags", "a tag has up to 40 letters"),
        (Typed(command="true", per_step="0"), "per step", "must be a whole number ≥ 1 and images, samples or tokens"),
        (Typed(command="true", per_step="8 files"), "per step", "got '8 files'"),
        (Typed(command="true", per_step="many"), "per step", "got 'many'"),
    ],
)
def test_a_bad_field_is_named(typed: Typed, field: str, message: str) -> None:
    with pytest.raises(FieldError) as refused:
        read_form(typed)
    assert refused.value.field == field
    assert message in str(refused.value)


def test_a_program_with_a_path_is_looked_for_in_the_folder_of_the_command(tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert read_form(Typed(command="./tool.sh", folder=str(tmp_path))).argv == ("./tool.sh",)
    with pytest.raises(FieldError, match=r"\./tool\.sh: command not found"):
        read_form(Typed(command="./tool.sh", folder="/"))


@pytest.mark.parametrize(
    ("per_step", "expected"),
    [("", (0, "images")), ("32", (32, "images")), ("8192 tokens", (8192, "tokens")), ("64samples", (64, "samples"))],
)
def test_per_step_is_a_number_and_a_unit(per_step: str, expected: tuple[int, str]) -> None:
    own = read_form(Typed(command="true", per_step=per_step))
    assert (own.per_step, own.unit) == expected


def test_the_preview_says_what_is_known_and_what_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = dict(preview(read_form(Typed(command="sh 'my train.sh' x", folder=str(tmp_path)))))
    assert rows["runs"].endswith("/sh 'my train.sh' x")
    assert rows["folder"] == str(tmp_path)
    assert rows["watched"].startswith("from inside: PYTHONPATH brings a module")
    assert rows["record"] == f"{run_directory.runs_home()}/DATE-TIME-my-train"
    assert rows["unknown"].startswith("memory, speed and time")
    assert "autotune" not in rows
    rows = dict(preview(read_form(Typed(command="sh x.sh", inject=False, autotune=True, per_step="8 tokens"))))
    assert rows["watched"] == "only the machine and the output: no steps, no data wait, no hints about data"
    assert rows["counted"] == "8 tokens per step, as you say"
    assert "autotune" in rows
    monkeypatch.setenv("GPUTRAIN_EXEC_DISABLE", "1")
    assert "GPUTRAIN_EXEC_DISABLE=1" in dict(preview(read_form(Typed(command="true"))))["watched"]


async def form(pilot: Pilot[int]) -> CommandScreen:
    """Choose the row of one's own command and press Enter."""
    menu(pilot, "recipes").focus()
    await press(pilot, "home")
    assert "press Enter to type it" in verdict_text(pilot)
    assert not start_button(pilot).disabled
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandScreen))
    screen = pilot.app.screen
    assert isinstance(screen, CommandScreen)
    return screen


async def test_a_typed_command_starts_as_exec_starts_it(starts: Starts, tmp_path: Path) -> None:
    (tmp_path / "my_train.py").write_text("import os, sys; print(os.getcwd(), sys.argv)\n")
    async with opened(starts) as pilot:
        screen = await form(pilot)
        screen.query_one("#folder", Input).value = str(tmp_path)
        await press(pilot, *f"{sys.executable} my_train.py 'a b'", "tab", "tab", *"mine", "tab", *"x y", "tab")
        await press(pilot, *"8 tokens", "tab", "space")
        await until(pilot, lambda: "better DataLoader settings are tried" in " ".join(shown(pilot).split()))
        screen.query_one("#per_step", Input).focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DashboardScreen))
        assert starts.asked == []
        run = next(info.run for info in run_directory.list_runs() if info.run.command.exists())
        await until(pilot, lambda: (status := run.status()) is not None and status.state.over)
        umask = os.umask(0)
        os.umask(umask)
        assert read_command(run) == ScriptCommand(
            argv=(sys.executable, "my_train.py", "a b"),
            cwd=str(tmp_path),
            terminal=True,
            per_step=8,
            unit="tokens",
            umask=umask,
        )
        assert read_marks(run).tags == ("x", "y")
        assert run.id.endswith("-mine")
        assert "autotune: true" in run.config.read_text()
        output = f"{tmp_path} ['my_train.py', 'a b']\r\n".encode()
        await until(pilot, lambda: run.trainer_log.read_bytes() == output)
        assert (status := run.status()) is not None
        assert status.state is State.FINISHED


async def test_a_mistake_is_named_and_its_field_gets_the_focus(starts: Starts) -> None:
    async with opened(starts) as pilot:
        screen = await form(pilot)
        # Nothing is wrong with an empty form until it is to be started.
        assert "■" not in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "■ command: type the command" in shown(pilot))
        await press(pilot, *"true 'x")
        await until(pilot, lambda: "■ command: column 6: the quote ' is not closed" in shown(pilot))
        await press(pilot, "'", "tab", "tab", "tab", *"b@d", "shift+tab", "enter")
        await until(pilot, lambda: "■ tags: a tag has up to 40 letters" in shown(pilot))
        assert screen.query_one("#tags", Input).has_focus
        # What was typed stays for the next time.
        await press(pilot, "escape")
        assert pilot.app.screen is launcher(pilot)
        again = await form(pilot)
        assert again.query_one("#command", Input).value == "true 'x'"
        assert not [info for info in run_directory.list_runs() if info.run.command.exists()]


async def test_arrows_move_between_the_fields(starts: Starts) -> None:
    async with opened(starts) as pilot:
        screen = await form(pilot)
        await press(pilot, "down", "down")
        assert screen.query_one("#name", Input).has_focus
        await press(pilot, "up")
        assert screen.query_one("#folder", Input).has_focus


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24), (60, 15)])
async def test_each_size_shows_all_fields_and_keys(starts: Starts, size: tuple[int, int]) -> None:
    async with opened(starts, size=size) as pilot:
        await form(pilot)
        await press(pilot, *"sh x.sh")
        await until(pilot, lambda: "runs" in shown(pilot))
        drawn = shown(pilot)
        for part in ("command", "folder", "name", "tags", "per step", "[ ] autotune", "[x] watch from inside"):
            assert part in drawn, part
        for part in ("Enter: start", "Escape: back"):
            assert part in drawn, part
        if size[1] >= 24:
            assert "unknown" in drawn


@pytest.mark.parametrize("key", ["e", "c", "m", "b"])
async def test_keys_for_recipes_say_so(starts: Starts, key: str) -> None:
    async with opened(starts) as pilot:
        menu(pilot, "recipes").focus()
        await press(pilot, "home")
        await pilot.press(key)
        await until(pilot, lambda: any("for recipes only" in one.message for one in pilot.app._notifications))
        assert pilot.app.screen is launcher(pilot)
        # A recipe has its plan again.
        await press(pilot, "down")
        assert launcher(pilot)._plan is not None
