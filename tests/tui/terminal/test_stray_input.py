"""Stray input and resizes of a real terminal do not end a screen, and do not count as keys."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from helpers.tui.live_run import live_run
from helpers.tui.terminals import Terminal, modes, on_terminal

STRAY = b"".join(
    (
        b"\xff\xfe\xe9\xe0",  # no UTF-8
        b"\x1b[M dq\x1b[M \xe9\xf0",  # X10 mouse reports
        b"\x9b<0;400;9M\x9b?1;2c",  # 8-bit control characters
        b"\xc2\x9b<35;4;9m",
        b"\x1b[?1;2c\x1b[>41;388;0c\x1b[24;80R\x1b[0n",  # late replies: attributes, cursor, status
        b"\x1bP>|XTerm(388)\x1b\\\x1b]11;rgb:1e1e/1e1e/1e1e\x07\x1b]52;c;ZHk=\x1b\\",
        b"\x1b[1114112;1;1114112u\x1b[55296;1;55296u\x1b[97:65;2:3u",  # keys that are none
        b"\x1b[48;0;0;0;0t\x1b[48;24;80;0;0t\x1b[<0;500;500M",
        b"\x1b[<999;99999;-99999M",
        b"\x1b[200~d y q s caf\xe9 \x1b[31m\x9b\x1b[201~",
    )
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    with live_run(tmp_path_factory.mktemp("live")) as found:
        yield found


def works(terminal: Terminal) -> None:
    """The help opens and closes."""
    terminal.send(b"?")
    terminal.shows("Help", "Escape: close")
    terminal.send(b"\x1b")
    terminal.hides("Escape: close")


def survives(terminal: Terminal, first: str) -> None:
    terminal.shows(first)
    works(terminal)
    before = terminal.text.splitlines()[-1]
    for _ in range(3):
        terminal.send(STRAY)
        works(terminal)
    for at in range(len(STRAY)):
        terminal.send(STRAY[at : at + 1])
    works(terminal)
    assert terminal.text.splitlines()[-1] == before
    terminal.send(b"\x1b[200~" + "dyqsé\n".encode() * 100_000 + b"\x1b[201~")
    works(terminal)
    # What breaks off may take the next key with it; later ones count.
    for begun in (b"\x1b[200~q", b"\x1b[<0;10", b"\x1b]52;c;", b"\xe2\x82"):
        terminal.send(begun)
        works_after_a_while(terminal)
    for size in [(1, 1), (300, 100), (0, 0), (60, 15), (59, 14), (80, 24)] * 20:
        terminal.resize(*size)
    terminal.resize(120, 35)
    terminal.shows(first)
    works(terminal)


def works_after_a_while(terminal: Terminal) -> None:
    while "Escape: close" not in terminal.text:
        terminal.send(b"?")
        terminal.wait(lambda text: "Escape: close" in text, seconds=10.0)
    terminal.send(b"\x1b")
    terminal.hides("Escape: close")


@pytest.mark.long
def test_the_monitor_survives() -> None:
    with on_terminal("monitor") as terminal:
        survives(terminal, "● monitoring")
        terminal.send(b"q")
        assert terminal.ended()[0] == 0


@pytest.mark.long
def test_the_launcher_survives() -> None:
    with on_terminal() as terminal:
        survives(terminal, "press Enter to start")
        terminal.send(b"q")
        assert terminal.ended()[0] == 0


@pytest.mark.long
def test_the_runs_screen_survives(live: tuple[str, Mapping[str, str]]) -> None:
    run, env = live
    with on_terminal("runs", "--screen", env=env) as terminal:
        survives(terminal, "1 run sorted by newest")
        terminal.send(b"q")
        assert terminal.ended()[0] == 0
    assert (Path(env["GPUTRAIN_HOME"]) / "runs" / run).is_dir()


@pytest.mark.long
def test_the_dashboard_survives_and_detaches(live: tuple[str, Mapping[str, str]]) -> None:
    run, env = live
    with on_terminal("tail", run, env=env) as terminal:
        survives(terminal, "● training")
        terminal.send(b"d")
        code, text = terminal.ended()
        assert code == 0
        assert f"run {run} continues" in " ".join(text.split())


@pytest.mark.long
@pytest.mark.parametrize("nonblocking", [False, True], ids=["", "set to non-blocking by another program"])
def test_a_screen_goes_on_after_its_terminal_stood_still(nonblocking: bool) -> None:
    with on_terminal("monitor", "--interval", "0.2", size=(200, 50), nonblocking=nonblocking) as terminal:
        terminal.shows("● monitoring")
        terminal.pause(True)
        for columns in range(100, 200):
            # Each size is painted anew; the kernel keeps only some kilobytes that nobody reads.
            terminal.resize(columns, 50)
            time.sleep(0.02)
        terminal.resize(200, 50)
        terminal.pause(False)
        terminal.shows("● monitoring")
        works(terminal)
        terminal.send(b"q")
        assert terminal.ended()[0] == 0


def test_a_resize_to_the_same_size_repaints_everything() -> None:
    with on_terminal("monitor") as terminal:
        bar = terminal.shows("● monitoring", "Processes", "q quit", "^p").splitlines()[-1]
        works(terminal)
        terminal.clear()
        assert terminal.shows("● monitoring", "╭─ Processes", "q quit", "^p").splitlines()[-1] == bar


CRASH = """
import sys
from gputrain.tui.state import run_store
from gputrain.tui.cli.main import main

def broken(self):
    raise ZeroDivisionError("a fault of the test's own")

run_store.RunStore.snapshot, whole = lambda self: whole(self) if not self._now.steps else broken(self), \
    run_store.RunStore.snapshot
sys.exit(main(sys.argv[1:]))
"""


def crashed(*arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
    with on_terminal(sys.executable, "-c", CRASH, *arguments, env=env, size=(200, 50)) as terminal:
        code, text = terminal.ended()
        return code, " ".join(text.split())


def test_a_screen_that_crashes_names_the_run_and_the_way_back(live: tuple[str, Mapping[str, str]]) -> None:
    run, env = live
    code, text = crashed("tail", run, env=env)
    assert code == 5
    assert "ZeroDivisionError: a fault of the test's own" in text
    assert "gputrain-tui: the screen closed because of an error" in text
    assert f"watch it again with: gputrain-tui tail {run}" in text
    # The run is untouched.
    with on_terminal("tail", run, env=env) as terminal:
        terminal.shows("● training")
        terminal.send(b"d")
        assert terminal.ended()[0] == 0


CRASH_OF_ANY = """
import sys
from gputrain.tui import app
from gputrain.tui.cli.main import main

def broken(self):
    raise ZeroDivisionError("a fault of the test's own")

app.GpuTrainApp.on_ready = lambda self: self.screen.set_timer(0.1, lambda: broken(self.screen))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments", [("monitor",), (), ("runs", "--screen")], ids=["monitor", "launcher", "runs"])
def test_a_crash_of_a_screen_without_a_run_says_that_runs_continue(
    arguments: tuple[str, ...], live: tuple[str, Mapping[str, str]]
) -> None:
    env = live[1]
    with on_terminal(sys.executable, "-c", CRASH_OF_ANY, *arguments, env=env, size=(200, 50)) as terminal:
        code, text = terminal.ended()
        last = modes(bytes(terminal.raw))
        assert terminal.attributes() == terminal.attributes_before
    assert code == 5
    assert "ZeroDivisionError: a fault of the test's own" in text
    closed = "the screen closed because of an error; runs continue; list them with: gputrain-tui runs"
    assert closed in " ".join(text.split())
    assert last[25]
    assert not last[1049]
