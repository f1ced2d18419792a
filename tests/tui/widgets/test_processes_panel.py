"""The panel of processes, drawn: what the run's own do, who else computes, and who is on the GPUs."""

from __future__ import annotations

import pytest
from helpers.tui.drawing import roles, text, view
from msgspec.structs import replace

from gputrain.engine.events import GpuProcess, GpuSample, HardwareSample, MigSample, ProcessSample
from gputrain.tui.render import styled_lines
from gputrain.tui.widgets.panels.processes import draw_processes

OWN = (
    ProcessSample(pid=11, name="python", role="trainer", cpu=1.25, rss=3 << 30, threads=40),
    ProcessSample(pid=12, name="python", role="worker", cpu=0.97, rss=1 << 30, state="D", threads=2),
    ProcessSample(pid=13, name="convert --all", cpu=0.01, rss=1 << 20),
)


@pytest.mark.parametrize("columns", [64, 70, 100, 190])
def test_each_of_the_run_s_processes_is_told_with_its_work(columns: int) -> None:
    drawn = draw_processes(view(HardwareSample(interval=1, processes=OWN)), columns, 9)
    assert all(styled_lines.width(row) <= columns for row in drawn)
    rows = text(drawn).splitlines()
    assert "trainer" in rows[0]
    assert "1.2" in rows[0]
    assert "worker" in rows[1]
    assert roles(drawn, "waits for disk") == {"warn"}
    assert rows[2].split()[:2] == ["13", "0.01"]


def test_commands_are_told_where_nothing_is_known_of_their_work() -> None:
    mine = (ProcessSample(pid=7, name="python train.py --lr 1", cpu=1.0),)
    drawn = text(draw_processes(view(HardwareSample(interval=1, processes=mine)), 100, 9))
    assert "python train.py --lr 1" in drawn


def test_owners_of_gpu_memory_are_named_on_instances_too() -> None:
    eve = GpuProcess(pid=5, memory=1 << 30, user="eve", name="blender")
    ours = GpuProcess(pid=6, memory=2 << 30, ours=True, name="python")
    gpu = GpuSample(index=0, processes=(ours,), instances=(MigSample(name="1g.10gb", processes=(eve,)),))
    drawn = draw_processes(view(HardwareSample(interval=1, gpus=(gpu,))), 100, 9)
    assert roles(drawn, "eve") == {"warn"}
    assert roles(drawn, "ours") == {"good"}
    assert text(drawn).splitlines()[1].startswith("0.0 ")


def test_what_has_no_row_is_counted() -> None:
    others = tuple(ProcessSample(pid=n, name="cc1plus", cpu=0.5, user="eve") for n in range(20))
    drawn = draw_processes(view(HardwareSample(interval=1, other_processes=others)), 100, 8)
    assert len(drawn) == 8
    assert "and 14 more" in text([drawn[-1]])


OTHERS = (
    ProcessSample(pid=31, name="cc1plus -O2", cpu=0.9, rss=1 << 28, user="eve"),
    ProcessSample(pid=32, name="firefox", cpu=0.0, rss=4 << 30, user="bob"),
)


def test_the_list_is_sorted_and_filtered_as_asked_for() -> None:
    sample = HardwareSample(interval=1, other_processes=OTHERS, processes=OWN)
    drawn = text(draw_processes(view(sample), 100, 20))
    assert drawn.index("cc1plus") < drawn.index("firefox")
    by_memory = text(draw_processes(replace(view(sample), by_memory=True), 100, 20))
    assert by_memory.index("firefox") < by_memory.index("cc1plus")
    filtered = text(draw_processes(replace(view(sample), search="FireFox"), 100, 20)).splitlines()
    assert len(filtered) == 2
    assert "firefox" in filtered[1]
    assert "no process contains “[b]” " in text(draw_processes(replace(view(sample), search="[b]"), 100, 20)) + " "
