"""Changes of a script's loader as its supervisor makes them, against the page of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.scripts.made_events import LOADER, NO_WORKERS, STEPS
from msgspec.structs import replace

from gputrain.engine.events import AnyEvent, Tuned
from gputrain.engine.events.commands import TuneCommand
from gputrain.engine.probe import layout
from gputrain.engine.probe.page import Page
from gputrain.engine.user_script.page_reader import MappedPage, PageFolder
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import ScriptEvents
from gputrain.engine.user_script.script_tuner import AUTOTUNE, ScriptTuner

MORE = TuneCommand(changes={"num_workers": 2}, sender="me")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[MappedPage]:
    """The page of a script that trains."""
    Page(str(tmp_path), layout.TRAINER)
    mapped = MappedPage(next(tmp_path.glob("*.page")))
    yield mapped
    mapped.close()


def tuner(loader: Any = LOADER) -> ScriptTuner:
    """One that has seen enough steps to compare with."""
    found = ScriptTuner()
    found.feed(loader)
    steps(found, 20)
    return found


def steps(of: ScriptTuner, count: int, rate: float = 160.0) -> list[AnyEvent]:
    """`count` windows of ten updates in a second."""
    found: list[AnyEvent] = []
    for _ in range(count):
        found += of.feed(replace(STEPS, images_per_second=rate))
    return found


def answer(of: ScriptTuner, page: MappedPage, **words: Any) -> list[AnyEvent]:
    """What a script says, and writes."""
    page.slots[layout.ANSWERED] = page.slots[layout.WANTED]
    return of.answered({"number": page.slots[layout.WANTED], **words})


def verdict(events: list[AnyEvent]) -> Tuned:
    """The one event."""
    (event,) = events
    assert isinstance(event, Tuned)
    return event


def test_a_change_names_its_loader_and_is_kept_by_its_rate(page: MappedPage) -> None:
    one = tuner()
    assert one.ask(MORE, page) is None
    assert page.slots[layout.WANTED_WORKERS] == 2
    assert page.slots[layout.WANTED_BATCHES] == LOADER.batches
    assert verdict(answer(one, page, exact=True)).verdict == "trying"
    steps(one, 30, 300.0)
    kept = verdict(one.judge(page))
    assert kept.verdict == "kept"
    assert kept.after == pytest.approx(300.0)


def test_the_wait_for_new_workers_is_not_part_of_the_new_rate(page: MappedPage) -> None:
    one = tuner()
    one.ask(MORE, page)
    answer(one, page, exact=True)
    # Four updates: the first batches of two new workers, and two more.
    steps(one, 1, 10.0)
    steps(one, 10, 300.0)
    assert verdict(one.judge(page)).after == pytest.approx(300.0)


def test_a_change_without_gain_is_taken_back(page: MappedPage) -> None:
    one = tuner()
    one.ask(MORE, page)
    answer(one, page, exact=True)
    steps(one, 30, 150.0)
    assert verdict(one.judge(page)).verdict == "reverted"
    assert page.slots[layout.WANTED_WORKERS] == 0
    assert answer(one, page, exact=True) == []
    steps(one, 20)
    assert one.ask(MORE, page) is None


def test_a_request_that_nobody_answers_is_withdrawn(page: MappedPage) -> None:
    one = tuner()
    one.ask(MORE, page)
    steps(one, 9)
    assert one.judge(page) == []
    steps(one, 1)
    refused = verdict(one.judge(page))
    assert (refused.verdict, refused.later) == ("refused", True)
    assert "keeps its batches" in refused.text
    assert page.slots[layout.WANTED] == page.slots[layout.ANSWERED]
    assert one.ask(MORE, page) is None
    assert page.slots[layout.WANTED] != page.slots[layout.ANSWERED]


def test_workers_that_could_not_be_started_end_the_trial(page: MappedPage) -> None:
    one = tuner()
    one.ask(MORE, page)
    answer(one, page, exact=True)
    refused = verdict(answer(one, page, refused="the new workers cannot be started: \x1b[1mOSError()"))
    assert (refused.verdict, refused.later) == ("refused", False)
    assert "\x1b" not in refused.text
    steps(one, 20)
    # The script has its old settings, so that the same change is one again.
    assert one.ask(MORE, page) is None


@pytest.mark.parametrize(
    ("loader", "stats", "why"),
    [
        (replace(LOADER, order_kept=False), NO_WORKERS, "the sampler may draw while it is read"),
        (LOADER, replace(NO_WORKERS, draws=True), "the data set draws random numbers"),
    ],
)
def test_autotune_refuses_what_would_not_be_the_same(loader: Any, stats: Any, why: str, page: MappedPage) -> None:
    one = tuner(loader)
    one.feed(stats)
    refused = one.ask(TuneCommand(changes={"num_workers": 2}, sender=AUTOTUNE), page)
    assert refused is not None
    assert refused.text.startswith(why)
    assert not refused.later
    assert one.ask(MORE, page) is None


def test_a_loader_that_is_seen_long_before_the_first_update_can_be_changed(tmp_path: Path) -> None:
    own = Page(str(tmp_path), layout.TRAINER)
    events = ScriptEvents(PageFolder(tmp_path), ScriptCommand(argv=("true",), cwd="/"), began=0.0)
    own.say(kind="loader", grad=True, passes=1, workers=0, batch_size=16, length=100)
    events.poll(1.0)
    own.slots[layout.UPDATES] = 1.0
    events.poll(2.0)
    refused = verdict(events.take(MORE))
    events.close()
    assert "too few steps" in refused.text
