"""The machines of a run on several of them: the table of nodes, and their GPUs."""

from __future__ import annotations

import pytest
from helpers.tui import scripted
from helpers.tui.drawing import roles, text
from helpers.tui.rank_runs import RankRun
from msgspec.structs import replace

from gputrain.engine.events import GpuSample, NodeSample
from gputrain.tui.render import styled_lines
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.widgets.panel import View
from gputrain.tui.widgets.panels.gpus import GpuPanel, draw_gpus
from gputrain.tui.widgets.panels.ranks import draw_ranks


def gpu(index: int, **changes: object) -> GpuSample:
    return replace(scripted.gpu(index, 1), cuda_index=index, utilization=90.0 + index, throttle=(), **changes)


def sample(host: str, gpus: tuple[GpuSample, ...]) -> NodeSample:
    return NodeSample(
        host=host, cpu_percent=41.0, usable_cores=8.0, gpus=gpus, ram_total=100, ram_available=40, disk_read=12.3e6,
        disk_write=0.4e6, disk_busy=0.97, net_rx=118e6, net_tx=117e6,
    )  # fmt: skip


def seen(*samples: NodeSample, nodes: int = 2) -> View:
    store = RunStore()
    store.apply_all([*RankRun(8 * nodes).events(20), *samples])
    return View(now=store.snapshot(), caught_up=True)


VIEW = seen(sample("node-01", tuple(gpu(index) for index in range(8))))


def test_each_node_has_a_line_with_its_disks_network_and_gpus() -> None:
    drawn = draw_ranks(VIEW, "own", 150, 40)
    lines = text(drawn).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("node  "))
    header, first, second = lines[at : at + 3]
    line = first if first.startswith("node-01") else second
    assert {"atlas", "node-01"} == {first.split()[0], second.split()[0]}
    for part in ("41 %", "60 %", "12.3/0.4", "97 %", "118/117", "8 GPUs 90–97 %"):
        assert part in line, (part, line)
    # Figures stand below their titles.
    for title, part in (("net ↓/↑ MB/s", "118/117"), ("disk R/W MB/s", "12.3/0.4"), ("own time", " ms")):
        assert header.index(title) + len(title) == line.index(part) + len(part), (title, part)
    assert roles(drawn, "97 %") & {"warn", "bad"}, "a busy disk is marked"


@pytest.mark.parametrize("columns", [60, 76, 100, 116, 150, 196])
def test_the_table_fits_and_keeps_the_gpus(columns: int) -> None:
    drawn = draw_ranks(VIEW, "own", columns, 40)
    assert all(styled_lines.width(one) <= columns for one in drawn)
    assert ("8 GPUs" in text(drawn)) == (columns >= 76)


def test_a_problem_of_a_gpu_is_in_the_line_of_its_node() -> None:
    lost = (gpu(0), gpu(1, error="lost: GPU is lost"))
    drawn = draw_ranks(seen(sample("node-01", lost)), "own", 150, 40)
    assert "2 GPUs 90–91 % 1 LOST" in text(drawn)
    assert "bad" in roles(drawn, "1 LOST")
    slowed = (gpu(0), replace(gpu(1), throttle=("hardware thermal",)))
    assert "1 SLOWED" in text(draw_ranks(seen(sample("node-01", slowed)), "own", 150, 40))


def test_the_gpu_panel_lists_every_gpu_below_its_node_where_there_is_room() -> None:
    shown = text(draw_gpus(VIEW, 100, 40)).splitlines()
    assert shown[0] == "atlas"
    assert shown[9] == "node-01"
    assert len(shown) == 18
    assert GpuPanel(id="gpu").title(VIEW) == "16 GPUs on 2 nodes"


@pytest.mark.parametrize(("columns", "rows"), [(28, 4), (60, 4), (76, 3), (116, 6)])
def test_the_gpu_panel_folds_by_node(columns: int, rows: int) -> None:
    drawn = draw_gpus(VIEW, columns, rows)
    assert [one.split()[0] for one in text(drawn).splitlines()] == ["atlas", "node-01"]
    assert all(styled_lines.width(one) <= columns for one in drawn)
    many = seen(*(sample(f"node-{number:02d}", (gpu(0),)) for number in range(1, 64)), nodes=64)
    folded = draw_gpus(many, columns, rows)
    assert len(folded) == rows
    assert f"and {64 - rows + 1} more nodes" in text(folded)


def test_machines_without_gpus_change_nothing_in_the_gpu_panel() -> None:
    alone = seen(sample("node-01", ()))
    assert "node-01" not in text(draw_gpus(alone, 100, 40))
    assert "no GPU" in text(draw_ranks(alone, "own", 150, 40))


def test_spare_rows_show_the_other_measures() -> None:
    drawn = text(draw_ranks(VIEW, "wait", 116, 40)).splitlines()
    titles = [line.split("  ")[0] for line in drawn]
    assert [name for name in titles if name in ("own time", "step time", "exchange")] == ["own time"]
    assert [name for name in titles if name == "data wait"] == []
    tall = text(draw_ranks(VIEW, "wait", 116, 90)).splitlines()
    assert [
        name for name in (line.split("  ")[0] for line in tall) if name in ("own time", "step time", "exchange")
    ] == [
        "own time",
        "step time",
        "exchange",
    ]
