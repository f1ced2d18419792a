"""A long record is read by its outline: same result, and the work does not grow with the record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.tui import scripted
from msgspec.structs import replace

from gputrain.engine.events import AnyEvent, Steps, Tuned, Validated, encode
from gputrain.engine.launching import launch
from gputrain.engine.launching.attachment import Attachment
from gputrain.engine.runs import milestones, record_outline, run_directory
from gputrain.engine.runs.event_log import RecordWriter, read
from gputrain.engine.runs.milestones import Milestones
from gputrain.engine.runs.record_outline import Outline
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore


def record_of(seconds: int) -> RunDir:
    """A finished run of so many seconds, 12 events each, written as a supervisor writes."""
    return recorded(f"long-{seconds}", scripted.whole_run(seconds))


def recorded(name: str, events: list[AnyEvent]) -> RunDir:
    """A run with these events, written as a supervisor writes."""
    run = run_directory.create(name)
    writer = RecordWriter(run.events)
    for event in events:
        # As scripted: the writer would stamp all of them with this moment.
        line = encode(event)
        writer._milestones.note(event, line)
        os.write(writer._file, line + b"\n")
    writer.close()
    return run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of some megabytes count as long."""
    monkeypatch.setattr(record_outline, "LONG_BYTES", 1 << 20)
    monkeypatch.setattr(record_outline, "PARTS", 200)
    monkeypatch.setattr(record_outline, "PART_BYTES", 4 << 10)
    monkeypatch.setattr(record_outline, "END_BYTES", 128 << 10)


def opened(run: RunDir, outlined: bool) -> tuple[Snapshot, int]:
    """What a dashboard knows once it has caught up, and how many events it read."""
    attachment, store, count = launch.attach(run, outlined=outlined), RunStore(), 0
    while not attachment.ended:
        events = attachment.read()
        store.apply_all(events, attachment.sparse_until)
        count += len(events)
    attachment.close()
    return store.snapshot(), count


@pytest.mark.usefixtures("small")
def test_the_outline_shows_the_run_that_the_whole_record_shows() -> None:
    run = record_of(1500)
    whole, all_events = opened(run, outlined=False)
    brief, some = opened(run, outlined=True)
    assert some < all_events / 2
    assert (brief.seq, brief.elapsed, brief.outcome) == (whole.seq, whole.elapsed, whole.outcome)
    assert (brief.settings, brief.data, brief.model) == (whole.settings, whole.data, whole.model)
    # Whatever is rare is complete.
    assert brief.validations == whole.validations
    assert brief.best == whole.best
    assert brief.checkpoint_count == whole.checkpoint_count
    # The newest minutes are, too.
    assert brief.steps == whole.steps
    assert brief.hardware == whole.hardware
    assert brief.images_per_second == whole.images_per_second
    # Sums are estimates, and said to be; nothing is taken for lost.
    assert brief.totals.estimated
    assert not whole.totals.estimated
    assert whole.sparse_until == 0 < brief.sparse_until < brief.elapsed
    assert brief.totals.lost == 0
    assert brief.totals.steps == whole.totals.steps
    for name in ("images", "step_seconds", "data_wait", "copy", "compute", "other", "joules", "power_seconds"):
        assert getattr(brief.totals, name) == pytest.approx(getattr(whole.totals, name), rel=0.03), name
    curve, exact = brief.curves["images_per_second"].whole, whole.curves["images_per_second"].whole
    assert curve[0].first == pytest.approx(exact[0].first, abs=10)
    assert curve[-1].last == pytest.approx(exact[-1].last, abs=2)


@pytest.mark.usefixtures("small")
def test_rare_events_between_the_parts_are_seen_too() -> None:
    script = scripted.Script()
    events = [script.at(event) for event in scripted.start()]
    for second in range(0, 1500, 100):
        events += [script.at(event, later) for event, later in scripted.training(100, first=second)]
        changes = {"num_workers": second // 100 + 1}
        events.append(script.at(Tuned(verdict="kept", changes=changes, was={"num_workers": 0}, before=900, after=1100)))
        events.append(script.at(replace(scripted.loader(), bad_images=2, bad_examples=(f"{second}.jpg: cut off",))))
    run = recorded("rare", [*events, script.at(scripted.finished())])
    brief, whole = (opened(run, outlined=outlined)[0] for outlined in (True, False))
    assert brief.tuned == whole.tuned
    assert brief.totals.bad_images == whole.totals.bad_images == 30
    output = [[entry for entry in now.journal if entry.kind != "log"] for now in (brief, whole)]
    assert output[0] == output[1]
    assert sum("unreadable image" in entry.text for entry in output[0]) == 15


@pytest.mark.usefixtures("small")
def test_the_work_is_bounded_however_long_the_record_is(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    pread = os.pread

    def counted(file: int, count: int, offset: int) -> bytes:
        chunk = pread(file, count, offset)
        taken.append(len(chunk))
        return chunk

    monkeypatch.setattr(os, "pread", counted)
    found: dict[int, tuple[int, int, int]] = {}
    for seconds in (800, 3200):
        run = record_of(seconds)
        taken.clear()
        brief = record_outline.outline(run.events)
        assert brief is not None
        rare = milestones.beside(run.events).stat().st_size
        found[seconds] = (len(taken), sum(taken) - rare, sum(isinstance(event, Steps) for event in brief.events))
    assert found[800][0] == found[3200][0]
    for short, long in zip(found[800], found[3200], strict=True):
        assert long <= short * 1.2


@pytest.mark.usefixtures("small")
def test_a_long_run_that_goes_on_is_followed_without_a_gap() -> None:
    run = record_of(800)
    attachment = launch.attach(run, outlined=True)
    found = list(drained(attachment))
    assert [event.seq for event in found] == sorted({event.seq for event in found})
    recent = [event.seq for event in found if event.seq >= attachment.sparse_until]
    assert recent == list(range(attachment.sparse_until, found[-1].seq + 1))
    writer = RecordWriter(run.events)
    output, _ = writer.append(scripted.validated(99))
    assert list(drained(attachment)) == [output]
    writer.close()
    attachment.close()


def drained(attachment: Attachment) -> Iterator[AnyEvent]:
    while found := attachment.read(timeout=0):
        yield from found


def test_short_records_and_those_without_milestones_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record_of(60)
    assert record_outline.outline(run.events) is None
    monkeypatch.setattr(record_outline, "LONG_BYTES", 1)
    monkeypatch.setattr(record_outline, "END_BYTES", 4096)
    assert isinstance(record_outline.outline(run.events), Outline)
    milestones.beside(run.events).unlink()
    assert record_outline.outline(run.events) is None
    assert opened(run, outlined=True) == opened(run, outlined=False)
    assert record_outline.outline(run.directory / "nothing.jsonl") is None


def test_milestones_that_cannot_be_kept_are_removed(tmp_path: Path) -> None:
    record = tmp_path / "events.jsonl"
    writer = RecordWriter(record)
    output, _ = writer.append(scripted.validated(0))
    assert [event for event in read(milestones.beside(record)) if isinstance(event, Validated)] == [output]
    writer.close()
    # A record that was begun without them goes on without them.
    milestones.beside(record).unlink()
    writer = RecordWriter(record)
    writer.append(scripted.validated(1))
    writer.close()
    assert not milestones.beside(record).exists()


def test_a_full_disk_takes_the_milestones_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Milestones(tmp_path / "events.jsonl", fresh=True)
    path = milestones.beside(tmp_path / "events.jsonl")
    assert path.exists()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    kept.note(scripted.validated(0), b"{}")
    assert not path.exists()
    kept.note(scripted.validated(1), b"{}")
    kept.close()
