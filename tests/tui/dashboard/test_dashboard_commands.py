"""The keys that detach, stop, checkpoint and tune a run, and the results of these commands."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tui.dashboards import LATER, dashboard, opened, panel, trained
from helpers.tui.piloting import until
from msgspec.structs import replace
from textual.pilot import Pilot

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.events import (
    Hint,
    HintsChanged,
    OperatorTime,
    Prediction,
    ProcessAsked,
    SharedStack,
    StacksTaken,
    SyncPoint,
    Traced,
    TraceSummary,
    Tuned,
)
from gputrain.engine.events.commands import CheckpointCommand, ProfileCommand, StacksCommand, StopCommand, TuneCommand
from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.dashboard.quit_dialog import QuitScreen
from gputrain.tui.screens.dashboard.stacks_screen import StacksScreen
from gputrain.tui.screens.dashboard.trace_screen import TraceScreen
from gputrain.tui.screens.dashboard.why_screen import WhyScreen


async def test_q_asks_and_enter_detaches() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("q")
        assert isinstance(pilot.app.screen, QuitScreen)
        await pilot.press("enter")
        await until(pilot, source.closed.is_set)
    app = pilot.app
    assert isinstance(app, GpuTrainApp)
    assert app.return_value == EXIT_FINISHED
    assert app.quit_result is not None
    assert app.quit_result.detached
    assert app.quit_result.exit_message.endswith(f"watch it again with: gputrain-tui tail {source.run.id}")
    assert source.sent == []


@pytest.mark.parametrize("key", ["q", "ctrl+c", "f10"])
async def test_leaving_can_be_taken_back(key: str) -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press(key)
        assert len(pilot.app.screen_stack) == 2
        await pilot.press("escape")
        assert pilot.app.screen_stack == [dashboard(pilot)]
        assert source.sent == []


@pytest.mark.parametrize(("downs", "checkpoint"), [(0, True), (1, False)])
async def test_s_asks_how_to_stop(downs: int, checkpoint: bool) -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("s", *["down"] * downs, "enter")
        await until(pilot, lambda: bool(source.sent))
        command = source.sent[0]
        assert isinstance(command, StopCommand)
        assert command.checkpoint is checkpoint
        assert "pid" in command.sender
        assert pilot.app.screen is dashboard(pilot)


async def test_stopping_can_be_chosen_when_leaving() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("q", "x")
        await until(pilot, lambda: bool(source.sent))
        assert source.sent == [StopCommand(checkpoint=False, sender=source.sent[0].sender)]


async def test_c_asks_for_a_checkpoint() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: bool(source.sent))
        assert isinstance(source.sent[0], CheckpointCommand)


LIVE = Hint(
    id="few-workers",
    severity="warning",
    title="Too few data workers",
    evidence="the workers were busy 97 % of the time",
    action="The workers are busy and cores are idle: num_workers=12.",
    changes={"num_workers": 12},
    share=0.27,
    prediction=Prediction(low=1090.0, high=1240.0, limiter="the device"),
    disproof="the same rate with more of them",
    path=("✗ Other programs take the cores: 0 %", "✓ Too few data workers: 97 %"),
)


async def test_key_a_tries_the_first_applicable_hint_and_shows_the_result() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LATER, LIVE)))
        await until(pilot, lambda: len(dashboard(pilot)._newest.now.hints) == 2)
        await pilot.press("a")
        await until(pilot, lambda: bool(source.sent))
        (command,) = source.sent
        assert isinstance(command, TuneCommand)
        assert (command.changes, command.promised) == ({"num_workers": 12}, LIVE.prediction)
        # The graver hint before it is not passed over in silence.
        await until(pilot, lambda: len(pilot.app._notifications) == 2)
        output = " ".join(note.message for note in pilot.app._notifications)
        assert "The GPU has too little work at a time: only for the next run" in output
        assert "batch_size=512" in output
        assert "try num_workers=12 for: Too few data workers" in output
        source.feed(
            Tuned(verdict="kept", changes={"num_workers": 12}, was={"num_workers": 8}, before=900.0, after=1200.0)
        )
        await until(pilot, lambda: "kept num_workers=12: 900 → 1 200 img/s (+33 %)" in panel(pilot, "hints"))


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (200, 50)])
async def test_the_prediction_is_shown_at_any_size(size: tuple[int, int]) -> None:
    source = trained()
    async with opened(source, size) as pilot:
        source.feed(HintsChanged(hints=(LIVE, LATER)))
        await until(pilot, lambda: len(dashboard(pilot)._newest.now.hints) == 2)
        await until(pilot, lambda: "expected: 1 090–1 240 img/s" in panel(pilot, "hints"))


async def test_a_says_what_is_for_the_next_run() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LATER,)))
        await until(pilot, lambda: dashboard(pilot)._newest.now.hints == (LATER,))
        await pilot.press("a")
        await until(pilot, lambda: any("batch_size=512" in one.message for one in pilot.app._notifications))
        assert source.sent == []


async def test_key_i_explains_the_hints_and_closes() -> None:
    source = trained()
    async with opened(source) as pilot:
        source.feed(HintsChanged(hints=(LIVE,)))
        await until(pilot, lambda: dashboard(pilot)._newest.now.hints == (LIVE,))
        await pilot.press("i")
        await until(pilot, lambda: isinstance(pilot.app.screen, WhyScreen))
        output = "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        for words in ("97 % of the time", "1 090–1 240 img/s", "num_workers=12", "✗ Other programs", "wrong if"):
            assert words in output
        await pilot.press("i")
        await until(pilot, lambda: pilot.app.screen is dashboard(pilot))


async def test_a_command_that_is_not_accepted_is_reported() -> None:
    source = trained()
    source.refuse = "it is not [running]"
    async with opened(source) as pilot:
        await pilot.press("c")
        await until(pilot, lambda: bool(pilot.app._notifications))
        assert [note.message for note in pilot.app._notifications] == [
            "checkpoint was not accepted: it is not [running]"
        ]


async def test_d_detaches_at_once() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("d")
        await until(pilot, source.closed.is_set)
    assert pilot.app.return_value == EXIT_FINISHED
    assert source.sent == []


def top_text(pilot: Pilot[int]) -> str:
    """What the topmost screen shows."""
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


async def test_k_asks_for_stacks_and_shows_them() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("k")
        await until(pilot, lambda: bool(source.sent))
        command = source.sent[0]
        assert isinstance(command, StacksCommand)
        process = ProcessAsked(pid=7, role="rank 1", threads=2, at="my.py:3 in step")
        stack = SharedStack(
            frames=("my.py:3 in step", "my.py:9 in [main]"), threads=("rank 1 7, main thread",), count=1
        )
        found: dict[str, Any] = {"processes": (process,), "stacks": (stack,)}
        taken = StacksTaken(request="of another", line="my.py:3 in step", share=1, **found)
        source.feed(taken)
        source.feed(replace(taken, request=command.id))
        await until(pilot, lambda: isinstance(pilot.app.screen, StacksScreen))
        await until(pilot, lambda: bool(top_text(pilot).strip()))
        shown = top_text(pilot)
        assert "1 of 1 process: my.py:3 in step" in shown
        assert "my.py:9 in [main]" in shown
        await pilot.press("k")
        assert pilot.app.screen_stack == [dashboard(pilot)]
        assert "stacks: 1 of 1 process: my.py:3 in step" in dashboard(pilot).view.now.journal[-1].text


GPU_TRACE = TraceSummary(
    steps=10,
    seconds=0.5,
    on_gpu=True,
    operators=(OperatorTime("aten::mm", 40, 0.2, 0.5), OperatorTime("aten::add[red]", 10, 0.1, 0.25)),
    kernels=0.6,
    copies=0.05,
    data=0.1,
    gaps=0.25,
    gaps_sync=0.2,
    gaps_host=0.05,
    launches=5000,
    mean_kernel=60e-6,
    sync_points=(SyncPoint("train.py:21", ".item()", 10, 0.05, 0.1),),
)


async def test_p_records_steps_and_shows_what_took_the_time() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: bool(source.sent))
        command = source.sent[0]
        assert isinstance(command, ProfileCommand)
        assert command.steps == 10
        source.feed(Traced(request=command.id, verdict="recording"))
        source.feed(Traced(request=command.id, verdict="waiting", text="the run is paused: recording goes on when"))
        await until(pilot, lambda: len(pilot.app._notifications) >= 2)
        assert isinstance(dashboard(pilot), type(pilot.app.screen))
        done = Traced(request=command.id, verdict="done", steps=10, file="/runs/a/trace-1.json.gz", size=1 << 20)
        source.feed(replace(done, summary=GPU_TRACE))
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceScreen))
        await until(pilot, lambda: bool(top_text(pilot).strip()))
        shown = top_text(pilot)
        assert "kernels" in shown
        assert "60.0 %" in shown
        assert "aten::add[red]" in shown
        assert "500 kernels in a step, 60.0 µs on average" in shown
        await pilot.press("p")
        assert pilot.app.screen_stack == [dashboard(pilot)]
        assert "trace of 10 steps: kernels 60" in dashboard(pilot).view.now.journal[-1].text


async def test_p_says_why_there_is_no_trace() -> None:
    source = trained()
    async with opened(source) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: bool(source.sent))
        command = source.sent[0]
        assert isinstance(command, ProfileCommand)
        source.feed(Traced(request=command.id, verdict="refused", text="a trace is being recorded already"))
        await until(pilot, lambda: isinstance(pilot.app.screen, TraceScreen))
        await until(pilot, lambda: bool(top_text(pilot).strip()))
        shown = top_text(pilot)
        assert "trace refused: a trace is being recorded already" in shown
