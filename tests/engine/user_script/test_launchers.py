"""Scripts that something else starts, and interpreters that keep the probe out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import TRAIN, pages_in, probed, run, script

from gputrain.engine.events import Notice
from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage, PageFolder
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import SILENT_SECONDS, ScriptEvents

SHORT = TRAIN.replace("range(3)", "range(1)") + "\nmain(0, False)\n"


def trainers(pages: Path) -> list[MappedPage]:
    return [page for page in pages_in(pages).scan() if not page.is_worker and page.slots[layout.UPDATES] > 0]


def _why_silent(pages: Path) -> str:
    """What is said after a minute."""
    events = ScriptEvents(PageFolder(pages), ScriptCommand(argv=("true",), cwd="/"), began=0.0)
    early, late = events.poll(SILENT_SECONDS - 1), events.poll(SILENT_SECONDS + 1)
    events.close()
    assert not [event for event in early if isinstance(event, Notice)]
    (notice,) = late
    assert isinstance(notice, Notice)
    return notice.text


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "launcher", [["-m", "my_train"], ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", "my_train.py"]]
)
def test_launchers_start_a_process_that_is_seen(launcher: list[str], tmp_path: Path) -> None:
    script(tmp_path, SHORT)
    done = run([sys.executable, *launcher], probed(tmp_path / "pages"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [page.slots[layout.UPDATES] for page in trainers(tmp_path / "pages")] == [29]


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_an_interpreter_that_keeps_the_probe_out_runs_and_that_is_said(option: str, tmp_path: Path) -> None:
    path = script(tmp_path, "print('ran')\n")
    done = run([sys.executable, option, str(path)], probed(tmp_path / "pages"))
    assert (done.stdout, done.stderr) == ("ran\n", "")
    assert "the probe is kept out (python -I, -E or -S" in _why_silent(tmp_path / "pages")


BY_HAND = """
import torch
from torch.utils.data import DataLoader, TensorDataset

weight = torch.nn.Parameter(torch.ones(3))
for (x,) in DataLoader(TensorDataset(torch.randn(8, 3))):
    (gradient,) = torch.autograd.grad((weight * x).sum(), [weight])
    with torch.no_grad():
        weight -= 0.1 * gradient
"""


def test_updates_by_hand_are_not_seen_and_that_is_said(tmp_path: Path) -> None:
    assert run([sys.executable, str(script(tmp_path, BY_HAND))], probed(tmp_path / "pages")).returncode == 0
    said = _why_silent(tmp_path / "pages")
    assert "no backward pass and no optimizer step yet" in said
    assert "gputrain.report" in said
