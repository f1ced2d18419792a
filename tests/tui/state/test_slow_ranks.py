"""The history of the ranks, the slowest of them, and the cause of its slowness."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tui import scripted
from helpers.tui.rank_runs import EXCHANGE, STEP, RankRun
from msgspec.structs import replace

from gputrain.engine.events import HardwareSample, ProcessSample, RankSteps
from gputrain.engine.supervision.node_sampling import node_sample
from gputrain.tui.state.rank_history import COLUMNS, RankHistory
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.slow_ranks import SlowRank, nodes_of, slow_node, slow_rank


def seen(run: RankRun, seconds: int = 20) -> Snapshot:
    store = RunStore()
    store.apply_all(run.events(seconds))
    return store.snapshot()


def slow_of(now: Snapshot) -> SlowRank:
    found = slow_rank(now, now.ranks.recent())
    assert found is not None
    return found


def test_equal_ranks_have_no_slow_one() -> None:
    now = seen(RankRun(8))
    assert now.ranks.count == 8
    assert slow_rank(now, now.ranks.recent()) is None
    assert slow_rank(now, {}) is None


def test_times_of_each_rank_are_those_reported() -> None:
    recent = seen(RankRun(16, slow={9: 0.2})).ranks.recent()
    assert sorted(recent) == list(range(16))
    assert recent[9].own / recent[9].steps == pytest.approx(STEP + 0.2, rel=0.02)
    assert recent[3].exchange / recent[3].steps == pytest.approx(EXCHANGE + 0.2, rel=0.05)


@pytest.mark.parametrize(
    ("run", "kind", "cause"),
    [
        ({"slow": {5: 0.2}, "hungry": [5]}, "data", "its data: it waits 32 % of a step"),
        ({"slow": {5: 0.2}, "clocks": {5: 1005}}, "clock", "its GPU's clock: 1005 MHz, 59 % of the others', software"),
        ({"slow": {5: 0.2}, "neighbours": {5: "blender"}}, "neighbour", "its neighbour: blender on the same GPU"),
        ({"slow": {5: 0.2}}, "unknown", "its GPU has the usual clock and no other program"),
        ({"slow": {5: 0.2}, "clocks": {4: 1005}, "neighbours": {3: "blender"}}, "unknown", "its computing"),
    ],
)
def test_the_slow_rank_and_its_cause(run: dict[str, Any], kind: str, cause: str) -> None:
    found = slow_of(seen(RankRun(8, **run)))
    assert (found.rank, found.host, found.gpu, found.kind) == (5, "atlas", 5, kind)
    assert cause in found.cause
    assert found.late == pytest.approx(0.2 / 0.62, rel=0.05)


def test_the_sample_of_this_machine_says_nothing_of_another() -> None:
    found = slow_of(seen(RankRun(16, slow={13: 0.2}, clocks={5: 1005})))
    assert (found.rank, found.host, found.gpu, found.kind) == (13, "node-01", 5, "unknown")
    assert "no sample of its machine" in found.cause


def test_a_sample_of_its_own_machine_does() -> None:
    run = RankRun(16, slow={13: 0.2})
    clocks = {index: 1000 if index == 5 else 1700 for index in range(8)}
    gpus = tuple(replace(scripted.gpu(index, 1), cuda_index=index, sm_clock=clock) for index, clock in clocks.items())
    sample = node_sample("node-01", HardwareSample(interval=1.0, gpus=gpus))
    store = RunStore()
    store.apply_all([*run.events(20), sample])
    found = slow_of(store.snapshot())
    assert (found.rank, found.kind) == (13, "clock")
    assert "1000 MHz, 59 % of the others'" in found.cause


def test_a_neighbour_on_the_cpu() -> None:
    now = seen(RankRun(4, slow={2: 0.2}))
    other = ProcessSample(pid=7, name="ffmpeg", cpu=6.0)
    sample = HardwareSample(interval=1.0, usable_cores=8.0, foreign_cpu=6.0, other_processes=(other,))
    assert slow_of(replace(now, hardware=sample)).cause == "its neighbour: ffmpeg use 6.0 cores"
    assert slow_of(replace(now, hardware=replace(sample, foreign_cpu=0.5))).kind == "unknown"


def test_the_slow_node() -> None:
    now = seen(RankRun(32, slow=dict.fromkeys(range(16, 24), 0.1)))
    nodes = nodes_of(now.ranks, now.ranks.recent(), "atlas")
    assert [(one.host, len(one.ranks)) for one in nodes] == [("atlas", 8), *((f"node-0{n}", 8) for n in (1, 2, 3))]
    found = slow_node(nodes)
    assert found is not None
    assert (found.host, found.ranks) == ("node-02", 8)
    assert slow_node(nodes[:1]) is None
    assert slow_node([one for one in nodes if one.host != "node-02"]) is None


def test_the_history_is_bounded_and_finished_columns_stay() -> None:
    history = RankHistory()
    event = RankSteps(rank=1, window_steps=4, window_seconds=2.0, data_wait=0.1, compute=1.8, exchange=0.1)
    for number in range(COLUMNS + 50):
        history.take(event, number * 2.0)
    before = history.ranks()
    assert len(before.columns) == COLUMNS
    history.take(event, (COLUMNS + 50) * 2.0 + 0.1)
    assert history.ranks() is not before
    assert before.columns[-1].times[1].steps == 4
    history.take(replace(event, rank=10**9), (COLUMNS + 50) * 2.0 + 0.2)
    assert history.ranks().count == 2


def test_a_new_start_on_fewer_machines_names_the_lost_one() -> None:
    history = RankHistory()
    away = RankSteps(rank=1, window_steps=4, window_seconds=2.0, data_wait=0.1, compute=1.8, exchange=0.1, host="b")
    history.restart("a", 0.0)
    for second in range(0, 8, 2):
        history.take(scripted.steps(second), float(second))
        history.take(away, second + 0.5)
    places = {rank: (place.host, place.gpu) for rank, place in history.ranks().places.items()}
    assert places == {0: ("a", 0), 1: ("b", None)}
    assert history.ranks().lost == {}
    history.restart("a", 20.0)
    for second in (30, 32):
        history.take(scripted.steps(second), float(second))
    now = history.ranks()
    assert (sorted(now.recent()), now.lost) == ([0], {"b": 20.0})
    assert now.count == 2, "the map keeps its row as long as it has columns of it"
    history.restart("a", 40.0)
    for second in (50, 52, 54):
        history.take(scripted.steps(second), float(second))
        history.take(away, second + 0.5)
    assert (sorted(history.ranks().recent()), history.ranks().lost) == ([0, 1], {})


def test_a_column_between_two_reports_has_the_figures_before() -> None:
    history = RankHistory()
    away = RankSteps(rank=1, window_steps=4, window_seconds=2.0, data_wait=0.1, compute=1.8, exchange=0.1)
    for second in range(20):
        history.take(scripted.steps(second), float(second))
        # A report every three seconds, and none after ten.
        if second % 3 == 0 and second < 10:
            history.take(away, float(second))
    assert [1 in column.times for column in history.ranks().columns] == [True] * 6 + [False] * 3
