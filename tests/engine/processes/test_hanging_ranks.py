"""The verdict on ranks that hang, from places that real ranks have written and from stacks of a real process."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from pathlib import Path

import pytest

from gputrain.engine.processes.hanging_ranks import main_line, own_main_line, read_stacks, verdict, waits_in_collective
from gputrain.engine.processes.rank_board import (
    EXCHANGE,
    REPORTS,
    RankBoard,
    RankPlace,
    RankReport,
    read_board,
    read_reports,
    write_reports,
)


def place(rank: int, step: int, where: str, since: float) -> RankPlace:
    return RankPlace(rank, 100 + rank, step, where, since)


def test_the_rank_that_the_others_wait_for_is_named() -> None:
    places = [place(0, 7, EXCHANGE, 41.0), place(1, 7, "forward", 40.0), place(2, 7, EXCHANGE, 42.0)]
    assert verdict(places, {1: "my_model.py:88 in forward"}, {}, 100.0) == (
        "rank 1 has not entered the exchange of step 8: it has been in forward for 60 s (my_model.py:88 in forward); "
        "2 others wait for it since 58 s"
    )


def test_a_stopped_rank_is_late_wherever_it_is() -> None:
    places = [place(0, 3, EXCHANGE, 1.0), place(1, 3, EXCHANGE, 1.0)]
    assert verdict(places, {}, {1: "process 101 is stopped"}, 9.0) == (
        "rank 1 has not entered the exchange of step 4: process 101 is stopped; 1 other waits for it since 8 s"
    )


def test_of_several_late_ranks_the_one_furthest_behind_is_named() -> None:
    places = [place(0, 9, EXCHANGE, 5.0), place(1, 9, "backward", 4.0), place(2, 8, "the wait for data", 6.0)]
    found = verdict(places, {}, {}, 10.0)
    assert found.startswith("rank 2 has not entered the exchange of step 9: it has been in the wait for data for 4 s; ")
    assert "so have 1 more not" in found


@pytest.mark.parametrize("where", [EXCHANGE, "update"])
def test_nothing_is_said_where_all_do_the_same(where: str) -> None:
    assert verdict([place(rank, 1, where, 0.0) for rank in range(3)], {}, {}, 9.0) == ""
    assert verdict([], {}, {}, 9.0) == ""


def test_each_rank_writes_its_own_line(tmp_path: Path) -> None:
    before = time.monotonic()
    boards = [RankBoard(tmp_path, rank, 3) for rank in (2, 0)]
    boards[0].step = 5
    boards[0].enter(EXCHANGE)
    found = read_board(tmp_path)
    assert [(one.rank, one.pid, one.step, one.place) for one in found] == [
        (0, os.getpid(), 0, "its start"),
        (2, os.getpid(), 5, EXCHANGE),
    ]
    assert all(before <= one.since <= time.monotonic() for one in found)
    assert read_board(tmp_path / "none") == []


def test_the_line_of_the_main_thread_in_the_users_code(tmp_path: Path) -> None:
    stacks, go = tmp_path / "stacks", threading.Event()
    other = threading.Thread(target=go.wait)
    other.start()
    with stacks.open("w") as file:
        faulthandler.dump_traceback(file, all_threads=True)
    go.set()
    other.join()
    found = main_line(read_stacks(stacks))
    assert found.startswith(f"{__file__}:")
    assert found.endswith("in test_the_line_of_the_main_thread_in_the_users_code")
    assert not waits_in_collective(read_stacks(stacks))
    assert main_line(read_stacks(tmp_path / "none")) == main_line("") == ""


def test_a_rank_within_a_collective_of_torch_waits() -> None:
    stacks = (
        "Current thread 0x1 (most recent call first):\n"
        '  File "/venv/site-packages/torch/distributed/distributed_c10d.py", line 5170 in all_gather_single\n'
        '  File "/venv/site-packages/torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py", line 119 in __call__\n'
        '  File "/home/me/model.py", line 12 in forward\n'
    )
    assert waits_in_collective(stacks)
    assert main_line(stacks) == "/home/me/model.py:12 in forward"


def test_another_thread_finds_the_line_of_the_main_thread() -> None:
    found: list[tuple[str, bool]] = []
    other = threading.Thread(target=lambda: found.append(own_main_line()))
    other.start()
    other.join()
    ((line, waits),) = found
    assert line.startswith(f"{__file__}:")
    assert line.endswith("in test_another_thread_finds_the_line_of_the_main_thread")
    assert not waits


def test_the_host_of_a_rank_is_named() -> None:
    places = [place(0, 7, EXCHANGE, 41.0), place(1, 7, "forward", 40.0)]
    assert verdict(places, {}, {}, 100.0, {0: "node-a", 1: "node-b"}).startswith("rank 1 on node-b has not entered ")


def test_reports_of_a_hang_are_read_while_it_lasts(tmp_path: Path) -> None:
    reports = [RankReport(0, "node-a", 7, EXCHANGE, 9.0), RankReport(1, "node-b", 7, "forward", 9.0, "my.py:3 in f", 4)]
    write_reports(tmp_path, reports)
    assert read_reports(tmp_path) == reports
    long_ago = time.time() - 60
    os.utime(tmp_path / REPORTS, (long_ago, long_ago))
    assert read_reports(tmp_path) == []
    (tmp_path / REPORTS).write_text("[{}]")
    assert read_reports(tmp_path) == []
