"""``gputrain-tui stop`` on a run that does not end: prints why, and what would end it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gputrain.engine.events import AnyEvent, Notice, Outcome, RunEnded
from gputrain.engine.runs import run_directory
from gputrain.tui.commands.runs import stop

HANGS = "no sign of life from the trainer for 300 s in 'training': it hangs"


class Slow:
    """What a reader sees of a run, a few events at a time."""

    def __init__(self, *heard: AnyEvent) -> None:
        self.run = run_directory.create("slow")
        self.abandoned = False
        self.heard = list(heard)

    @property
    def ended(self) -> bool:
        return not self.heard

    def read(self) -> list[AnyEvent]:
        return [self.heard.pop(0)]


def message(capsys: pytest.CaptureFixture[str], *heard: AnyEvent, now: bool = False) -> tuple[list[str], str]:
    slow = Slow(*heard, RunEnded(outcome=Outcome.STOPPED, reason="on request", step=7))
    assert stop._wait(cast("Any", slow), now=now) == 0
    out, err = capsys.readouterr()
    assert out == f"{slow.run.id}: stopped at step 7: on request\n"
    return err.splitlines(), f"to stop at once without a checkpoint: gputrain-tui stop {slow.run.id} --now"


def notice(text: str) -> Notice:
    return Notice(level="warning", text=text, source="supervisor")


def test_a_run_that_hangs_is_reported_with_the_remedy(
    private_homes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = notice("something else")
    assert message(capsys, notice(HANGS), other)[0] == []
    monkeypatch.setattr(stop, "NOTICE_SECONDS", -1.0)
    assert message(capsys, notice(HANGS), other, now=True)[0] == []
    # Slow at first, and known to hang later.
    lines, remedy = message(capsys, other, other, notice(HANGS), other)
    assert [line.partition(" ")[2] for line in lines] == [
        f"has not ended yet; {remedy}",
        f"has not ended yet: {HANGS}; {remedy}",
    ]
    # It went on before it was asked to stop.
    monkeypatch.setattr(stop, "NOTICE_SECONDS", 0.0)
    lines, remedy = message(capsys, notice(HANGS), notice("the trainer goes on, after 301 s"), other)
    assert lines[-1].endswith(f"has not ended yet; {remedy}")
