"""The record: numbering, torn lines, full disks, and readers that follow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gputrain.engine import events
from gputrain.engine.events import Notice, Phase, PhaseChanged
from gputrain.engine.runs import event_log
from gputrain.engine.runs.event_log import RecordReader, RecordWriter


def notice(text: str) -> Notice:
    return Notice(level="info", text=text)


def texts(path: Path) -> list[str]:
    return [event.text for event in event_log.read(path) if isinstance(event, Notice)]


def test_events_are_numbered_from_one_and_timed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = RecordWriter(path)
    for text in ("a", "b", "c"):
        writer.append(notice(text))
    writer.close()
    found = list(event_log.read(path))
    assert [event.seq for event in found] == [1, 2, 3]
    assert all(event.v == events.FORMAT_VERSION and event.wall > 0 and event.mono > 0 for event in found)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_writer_continues_after_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = RecordWriter(path)
    writer.append(notice("whole"))
    writer.close()
    with path.open("ab") as file:
        file.write(b'{"type":"notice","level":"info","te')
    writer = RecordWriter(path)
    writer.append(notice("after"))
    writer.close()
    assert texts(path) == ["whole", "after"]
    assert [event.seq for event in event_log.read(path)] == [1, 2]


def test_numbers_continue_when_the_tail_holds_no_whole_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = RecordWriter(path)
    writer.append(notice("first"))
    writer.close()
    with path.open("ab") as file:
        file.write(b"\0" * 200_000 + b"\n")
    writer = RecordWriter(path)
    assert writer.seq == 1
    writer.close()


def test_a_full_disk_loses_no_event_once_there_is_space() -> None:
    """/dev/full refuses every byte, as a full file system does."""
    writer = RecordWriter(Path("/dev/full"))
    for number in range(100):
        writer.append(notice(str(number)))
    assert writer.waiting == 100
    assert writer.lost == 0
    target = os.memfd_create("room")
    os.dup2(target, writer._file)
    assert writer.flush()
    lines = os.pread(target, 1 << 20, 0).splitlines()
    assert [events.decode(line).seq for line in lines if line] == list(range(1, 101))  # type: ignore[union-attr]
    os.close(target)
    os.close(writer._file)


def test_a_reader_keeps_an_incomplete_line_until_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with RecordReader(path) as reader:
        assert reader.poll() == []
        line = events.encode(events.stamp(notice("late"), 1, 1.0, 1.0))
        with path.open("ab", buffering=0) as file:
            file.write(line[:10])
            assert reader.poll() == []
            file.write(line[10:] + b"\n")
            assert [event.seq for event in reader.poll()] == [1]
            assert reader.poll() == []


def test_foreign_lines_are_skipped_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = events.encode(events.stamp(PhaseChanged(phase=Phase.TRAINING), 7, 1.0, 1.0))
    huge = b"x" * (event_log.MAX_LINE_BYTES + 1000)
    path.write_bytes(b'{"type":"from_the_future","seq":1}\n\xff\xfe\n[]\n' + huge + b"\n" + good + b"\n")
    assert [event.seq for event in event_log.read(path)] == [7]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_nan_loss_is_recorded_as_none(tmp_path: Path, loss: float) -> None:
    path = tmp_path / "events.jsonl"
    writer = RecordWriter(path)
    writer.append(
        events.Steps(
            step=1,
            epoch=0,
            epoch_step=1,
            images=8,
            window_steps=1,
            window_seconds=0.1,
            images_per_second=80.0,
            loss=loss,
            lr=0.1,
            data_wait=0.0,
            copy=None,
            compute=0.1,
            other=0.0,
        )
    )
    writer.close()
    (event,) = event_log.read(path)
    assert isinstance(event, events.Steps)
    assert event.loss is None
