"""Records of the other ranks go to rank 0 with their heartbeats, each once."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest

from gputrain.engine.processes.rank_board import RankReport, write_reports
from gputrain.engine.processes.rank_environment import LOOPBACK, MeetingPoint
from gputrain.engine.training.distributed import rank_link
from gputrain.engine.training.distributed.rank_link import RankLink, Start


def test_records_come_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_link, "_BEAT_SECONDS", 0.05)
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    came, enough = [], threading.Event()

    def take(records: list[bytes]) -> None:
        came.extend(records)
        if b"5 of rank 1" in came and b"5 of rank 2" in came:
            enough.set()

    leader = RankLink(MeetingPoint(LOOPBACK, port, listener.detach()), 0, 3, lambda _who: None)
    leader.lead(Start(str(tmp_path), msgspec.Raw(b"{}")), lambda _rank, _event: None, take)
    ranks = [RankLink(MeetingPoint(LOOPBACK, port), rank, 3, lambda _who: None) for rank in (1, 2)]
    for rank, link in enumerate(ranks, start=1):
        link.follow()
        link.record(b"0 of rank %d" % rank)
    for number in range(1, 6):
        for rank, link in enumerate(ranks, start=1):
            before = len(came)
            link.record(b"%d of rank %d" % (number, rank))
            for _ in range(600):
                if len(came) > before:
                    break
                time.sleep(0.1)
    assert enough.wait(60)
    for rank in (1, 2):
        assert [one for one in came if one.endswith(b"of rank %d" % rank)] == [
            b"%d of rank %d" % (number, rank) for number in range(6)
        ]
    assert [report.rank for report in leader._reports()] == [1, 2]
    assert write_reports(tmp_path, leader._reports()) is None
    assert isinstance(leader._reports()[0], RankReport)
    for link in (*ranks, leader):
        link.close()


def test_a_late_leader_gets_the_newest_records() -> None:
    link = object.__new__(RankLink)
    link._taken = {}
    assert link._fresh(7, b"1 0 {}") == []
    assert link._fresh(7, b'2 2 {"rank":7}\na\nb') == [b"a", b"b"]
    assert link._fresh(7, b'3 2 {"rank":7}\na\nb') == []
    assert link._fresh(7, b'9 8 {"rank":7}\nf\ng\nh') == [b"f", b"g", b"h"]
    assert link._fresh(7, b'10 9 {"rank":7}\ng\nh\ni') == [b"i"]
