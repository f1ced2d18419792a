"""Ranks that make no steps: real processes with real pages and stacks, in code at the paths of torch's collectives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gputrain.engine.events import Notice
from gputrain.engine.probe import layout
from gputrain.engine.stacks import rank_waits
from gputrain.engine.user_script import rank_looks
from gputrain.engine.user_script.hang_verdict import RankLook, verdict
from gputrain.engine.user_script.hang_watch import HangWatch
from gputrain.engine.user_script.page_reader import MappedPage, PageFolder

COLLECTIVES = """
import time
def all_reduce():
    time.sleep(1000)
def barrier():
    time.sleep(1000)
"""
RANK = """
import sys, time
from gputrain.engine.probe import layout
from gputrain.engine.probe.on_request import stack_dump
from gputrain.engine.probe.page import Probe
sys.path.insert(0, "site-packages/torch/distributed")
import distributed_c10d

def fetch():
    time.sleep(1000)  # line 10

def spin():
    while True:
        pass

what, folder = sys.argv[1:]
if what != "kept out":
    stack_dump.install()
    Probe(folder).trainer_page().slots[layout.UPDATES] = 4
print("up", flush=True)
{"fetch": fetch, "spin": spin, "kept out": fetch}.get(what, getattr(distributed_c10d, what, None))()
"""
RANKS = {"all_reduce": 0, "fetch": 1, "barrier": 2, "spin": 3, "kept out": 0}
LIMIT = 60.0


class Ranks:
    """Five processes; a test takes some of them for the ranks of a script."""

    def __init__(self, folder: Path) -> None:
        modules = folder / "site-packages" / "torch" / "distributed"
        modules.mkdir(parents=True)
        (modules / "distributed_c10d.py").write_text(COLLECTIVES)
        self.script = folder / "train.py"
        self.script.write_text(RANK)
        pages = folder / "pages"
        pages.mkdir()
        self.processes = {what: self._start(what, rank, folder, pages) for what, rank in RANKS.items()}
        for process in self.processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
        self.folder = PageFolder(pages)
        by_pid = {page.pid: page for page in self.folder.scan()}
        self.pages = {what: by_pid[one.pid] for what, one in self.processes.items() if one.pid in by_pid}

    def _start(self, what: str, rank: int, folder: Path, pages: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "4"}
        if what == "kept out":
            environment["LOCAL_RANK"] = str(rank)
        command = [sys.executable, str(self.script), what, str(pages)]
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True)

    def silent(self, *which: str) -> tuple[HangWatch, list[Notice], list[MappedPage]]:
        """A watch that has just looked at these processes, what it says, and their pages."""
        pages = [self.pages[what] for what in which]
        watch = HangWatch(LIMIT)
        assert watch.feed(100.0, pages) == []
        assert watch.feed(100.0 + LIMIT - 1, pages) == []
        return watch, self.said(watch, 100.0 + LIMIT, pages), pages

    def said(self, watch: HangWatch, now: float, pages: list[MappedPage]) -> list[Notice]:
        """What a look that begins at `now` leads to."""
        assert watch.feed(now, pages) == []
        assert watch._look is not None
        watch._look.join()
        return watch.feed(now + 4.0, pages)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    found = Ranks(tmp_path_factory.mktemp("ranks"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_looks, "_BETWEEN_SECONDS", 0.1)


def test_the_rank_that_is_in_no_collective_is_named_once_and_then_that_it_goes_on(ranks: Ranks) -> None:
    watch, (notice,), pages = ranks.silent("all_reduce", "fetch")
    assert notice.level == "warning"
    assert notice.text == (
        f"no step for 64 s: rank 1 keeps the others waiting in step 5: it is at {ranks.script}:10 in fetch, "
        f"since 64 s; rank 0 waits for it in all_reduce ({ranks.script}:21 in <module>), since 64 s; "
        "2 ranks on other machines are not seen here"
    )
    assert ranks.said(watch, 300.0, pages) == []
    pages[0].slots[layout.UPDATES] += 1
    (goes_on,) = watch.feed(330.0, pages)
    assert goes_on.text == "the ranks go on, after 230 s"


def test_whoever_moves_while_it_is_looked_at_does_not_hang(ranks: Ranks) -> None:
    pages = [ranks.pages["all_reduce"], ranks.pages["fetch"]]
    watch = HangWatch(LIMIT)
    watch.feed(100.0, pages)
    watch.feed(200.0, pages)
    assert watch._look is not None
    pages[1].slots[layout.VALIDATION_BATCHES] += 1
    watch._look.join()
    assert watch.feed(204.0, pages) == []


def test_a_rank_that_is_stopped_is_named_with_the_remedy(ranks: Ranks) -> None:
    pid = ranks.processes["barrier"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            pass
        _, (notice,), _ = ranks.silent("all_reduce", "barrier")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert notice.level == "warning"
    assert f"rank 2 keeps the others waiting in step 5: it is stopped by a signal; kill -CONT {pid} " in notice.text


def test_ranks_that_wait_in_different_collectives(ranks: Ranks) -> None:
    _, (notice,), _ = ranks.silent("all_reduce", "barrier")
    assert notice.level == "warning"
    assert "the ranks wait for each other in different places: rank 0 after " in notice.text
    assert f" updates in all_reduce ({ranks.script}:21 in <module>); rank 2 after " in notice.text


def test_work_is_not_called_a_hang(ranks: Ranks) -> None:
    page = ranks.pages["fetch"]
    page.slots[layout.PHASE] = layout.VALIDATION
    try:
        _, (notice,), _ = ranks.silent("all_reduce", "fetch")
    finally:
        page.slots[layout.PHASE] = layout.TRAINING
    assert notice.level == "info"
    assert notice.text.endswith(". This may be work that takes long, not a hang: it validates")


def test_a_rank_that_computes_is_not_called_a_hang(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_looks, "_BETWEEN_SECONDS", 0.3)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        _, (notice,), _ = ranks.silent("all_reduce", "spin")
        # A busy machine may give it hardly any time.
        if notice.level == "info" and "it uses " in notice.text:
            break
    assert "rank 3 keeps the others waiting" in notice.text
    assert "it uses " in notice.text
    assert "% of a core" in notice.text


def test_no_rank_is_named_where_one_gives_no_stack(ranks: Ranks) -> None:
    _, (notice,), _ = ranks.silent("fetch", "barrier")
    assert notice.level == "info"
    assert "which rank hangs, if one does, is not known: there is no stack of rank 0, which cannot" in notice.text
    assert ranks.processes["kept out"].poll() is None, "it got no signal"


def test_one_rank_or_no_limit_is_not_looked_at(ranks: Ranks) -> None:
    pages = list(ranks.pages.values())
    watch = HangWatch(0.0)
    assert watch.feed(0.0, pages) == watch.feed(1e6, pages) == []
    assert watch._look is None
    assert verdict([RankLook(0, 4, 60.0, waits="all_reduce")], 2) is None
    assert verdict([RankLook(rank, 4, 60.0, line="a.py:1 in f") for rank in range(2)], 2) is None


def test_before_the_first_step_nothing_is_sure() -> None:
    found = verdict([RankLook(0, 0, 60.0, waits="all_reduce"), RankLook(1, 0, 70.0, line="a.py:1 in f")], 2)
    assert found is not None
    assert found.level == "info"
    assert found.text.endswith("no rank has done a step so far, and the first one takes longest")


TORCH = "/x/site-packages/torch"


@pytest.mark.parametrize(
    ("frames", "on_device", "waits"),
    [
        ([f"{TORCH}/autograd/graph.py:1070 in _engine_run_backward", "t.py:1 in f"], False, rank_waits.BACKWARD),
        (["t.py:9 in recomputed", f"{TORCH}/autograd/graph.py:1070 in _engine_run_backward"], False, ""),
        (
            [
                f"{TORCH}/distributed/distributed_c10d.py:4 in all_gather",
                f"{TORCH}/distributed/c10d_logger.py:83 in wrapper",
                f"{TORCH}/distributed/distributed_c10d.py:9 in all_gather_object",
                "t.py:1 in f",
            ],
            False,
            "all_gather_object",
        ),
        ([f"{TORCH}/nn/parallel/distributed.py:7 in _sync_buffers"], False, "_sync_buffers of torch.distributed"),
        ([f"{TORCH}/cuda/streams.py:7 in synchronize"], True, rank_waits.DEVICE),
        (["LINE:1 in f"], True, rank_waits.DEVICE),
        (["LINE:1 in f"], False, ""),
        (["LINE:2 in f"], False, rank_waits.WORK),
        (["LINE:3 in f", "/gone.py:3 in f"], True, ""),
        ([], True, ""),
    ],
)
def test_what_a_rank_waits_in(frames: list[str], on_device: bool, waits: str, tmp_path: Path) -> None:
    source = tmp_path / "t.py"
    source.write_text("total += loss.item()\nwork.wait()\nrows = read(file)\n")
    placed = [frame.replace("LINE", str(source)) for frame in frames]
    assert rank_waits.waits_in(placed, on_device=on_device) == waits


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (f"{TORCH}/serialization.py:9 in _save", "it writes or reads a checkpoint"),
        ("t.py:1 in save_checkpoint", "it writes or reads a checkpoint"),
        (f"{TORCH}/_inductor/compile_fx.py:9 in compile_fx", "it compiles"),
        ("t.py:1 in evaluate", "it validates"),
    ],
)
def test_what_takes_long(frame: str, words: str) -> None:
    assert rank_waits.doubts([frame, "t.py:9 in main"]) == [words]
    assert rank_waits.doubts(["t.py:9 in fetch", f"{TORCH}/_dynamo/eval_frame.py:9 in compile_wrapper"]) == []
