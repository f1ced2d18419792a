"""The panel of ranks in the dashboard: sizes, the key, ASCII."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from helpers.tui.dashboards import dashboard, opened, panel, trained
from helpers.tui.piloting import until
from helpers.tui.rank_runs import RankRun
from helpers.tui.scriptedsource import ScriptedSource

from gputrain.engine.events import AnyEvent

RUN = RankRun(512, slow={19: 0.2}, hungry=[19])
EVENTS: Sequence[AnyEvent] = RUN.events(14)


def source() -> ScriptedSource:
    found = ScriptedSource()
    found.feed(*EVENTS)
    return found


@pytest.mark.parametrize("size", [(200, 50), (120, 35), (80, 24)])
async def test_512_ranks_at_each_size(size: tuple[int, int]) -> None:
    async with opened(source(), size) as pilot:
        await until(pilot, lambda: "512 ranks on 64 nodes" in panel(pilot, "ranks"))
        assert "slow rank 19, GPU 3 of node-02" in panel(pilot, "ranks")
        if size != (80, 24):
            assert "█" in panel(pilot, "ranks")


async def test_the_key_shows_the_panel_and_changes_the_measure() -> None:
    async with opened(source(), (80, 24)) as pilot:
        await until(pilot, lambda: "Ranks: own time" in panel(pilot, "ranks"))
        for shown in ("step time", "data wait", "exchange", "own time"):
            await pilot.press("m")
            await until(pilot, lambda: f"Ranks: {shown}" in panel(pilot, "ranks"))  # noqa: B023 - called at once
        dashboard(pilot).query_one("#ranks").focus()
        await pilot.press("f")
        await until(pilot, lambda: "ranks  own time  data wait" in panel(pilot, "ranks"))
        assert "504–511" in panel(pilot, "ranks")


async def test_a_run_in_one_process_has_none() -> None:
    async with opened(trained(), (200, 50)) as pilot:
        assert panel(pilot, "ranks") == ""
        await pilot.press("m")
        assert panel(pilot, "ranks") == ""
        assert panel(pilot, "processes")
