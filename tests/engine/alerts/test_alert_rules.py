"""Which events cause alerts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.alert_rules import AlertRules
from gputrain.engine.alerts.alert_settings import AlertSettings
from gputrain.engine.alerts.delivery import RateLimit
from gputrain.engine.events import (
    AnyEvent,
    GpuSample,
    HardwareSample,
    Notice,
    Outcome,
    Phase,
    PhaseChanged,
    RunEnded,
    Steps,
    Tuned,
)
from gputrain.engine.probe import layout
from gputrain.engine.probe.page import Page
from gputrain.engine.shared_loop.nonfinite_loss import DoneStep, NonFinitePolicy
from gputrain.engine.user_script.page_reader import PageFolder
from gputrain.engine.user_script.script_rank import ScriptRank


def steps(step: int, rate: float = 100.0, seconds: float = 60.0) -> Steps:
    return Steps(
        step=step, epoch=1, epoch_step=step, images=step, window_steps=1, window_seconds=seconds,
        images_per_second=rate, loss=1.5, lr=0.1, data_wait=0.0, copy=None, compute=seconds, other=0.0,
    )  # fmt: skip


def rules(**settings: float) -> AlertRules:
    return AlertRules(AlertSettings(**settings), "20260101-000000-demo", "flowers", 0.0)  # type: ignore[arg-type]


def fed(to: AlertRules, events: Iterable[AnyEvent], now: float = 0.0) -> list[Alert]:
    return [alert for event in events for alert in to.feed(event, now)]


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (RunEnded(outcome=Outcome.FINISHED, reason="all steps are done"), "finished"),
        (RunEnded(outcome=Outcome.STOPPED, reason="on request"), "stopped"),
        (RunEnded(outcome=Outcome.STOPPED, reason="SIGTERM", preempted=True), "preempted"),
        (RunEnded(outcome=Outcome.FAILED, reason="ValueError", exit_code=1), "failed"),
        (RunEnded(outcome=Outcome.KILLED, reason="SIGKILL", signal=9), "failed"),
        (RunEnded(outcome=Outcome.FAILED, reason="NaN", error="NonFiniteLossError: nan"), "nonfinite_loss"),
    ],
)
def test_each_end_has_its_alert(ended: RunEnded, kind: str) -> None:
    (alert,) = fed(rules(), [steps(7), ended])[-1:]
    assert (alert.kind, alert.run, alert.name, alert.step) == (kind, "20260101-000000-demo", "flowers", 7)
    assert alert.title.startswith("flowers ")
    assert alert.text == ended.reason


def test_slower_than_its_own_pace() -> None:
    """Two slow minutes in a row alert once; one does not, and neither does a run that was always slow."""
    watched = rules(slow_percent=30)
    steady = [steps(n, rate) for n, rate in enumerate([10, 100, 101, 99, 100, 100])]
    assert not fed(watched, [*steady, steps(7, 60.0), steps(8, 100.0), steps(9, 60.0)])
    (alert,) = fed(watched, [steps(10, 60.0), steps(11, 60.0), steps(12, 60.0)])
    assert alert.kind == "slow"
    assert "60 images/s" in alert.text
    assert "100 before" in alert.text
    assert "40% slower" in alert.title
    assert not fed(rules(slow_percent=30), [steps(n, 10.0) for n in range(20)])
    assert not fed(rules(slow_percent=0), [*steady, *(steps(n, 1.0) for n in range(20))])


def test_the_pace_of_a_script_has_its_own_unit() -> None:
    watched = rules(slow_percent=30)
    events = [structs.replace(steps(n, rate), unit="tokens") for n, rate in enumerate([100] * 8 + [50] * 2)]
    (alert,) = fed(watched, events)
    assert "50 tokens/s" in alert.text


def test_a_changed_loader_has_a_new_pace() -> None:
    watched = rules(slow_percent=30)
    steady = [steps(n) for n in range(8)]
    tuned = Tuned(verdict="kept", changes={"num_workers": 1})
    assert not fed(watched, [*steady, tuned, *(steps(n, 10.0) for n in range(4))])


def test_stalled_and_recovered() -> None:
    """Silence counts while the run trains, not while it compiles or is paused."""
    watched = rules(stalled_minutes=1)
    fed(watched, [PhaseChanged(phase=Phase.COMPILING)], 0.0)
    assert not list(watched.tick(500.0))
    fed(watched, [PhaseChanged(phase=Phase.TRAINING), steps(1)], 510.0)
    assert not list(watched.tick(569.0))
    (alert,) = watched.tick(571.0)
    assert (alert.kind, alert.step) == ("stalled", 1)
    assert not list(watched.tick(700.0))
    assert [one.kind for one in fed(watched, [steps(2)], 701.0)] == ["recovered"]
    fed(watched, [PhaseChanged(phase=Phase.PAUSED)], 702.0)
    assert not list(watched.tick(9999.0))


def test_skipped_updates_alert_once() -> None:
    """The texts are those that the policy really writes."""
    texts: list[str] = []
    policy = NonFinitePolicy(lambda _, text: texts.append(text), lambda index: f"{index}.jpg")
    for number in (3, 4):
        policy.update([DoneStep(number, float("nan"), np.array([1, 2]))], skipped=True)
    assert len(texts) == 2
    notices = [Notice(level="warning", text=text) for text in texts]
    alerts = fed(rules(), [Notice(level="warning", text="2 unreadable train images were replaced"), *notices])
    assert [alert.kind for alert in alerts] == ["nonfinite_loss"]
    assert "step 3" in alerts[0].text


def test_a_loss_of_a_script_that_is_not_finite(tmp_path: Path) -> None:
    """The words are those that the supervisor of a script really writes."""
    written = Page(str(tmp_path), layout.TRAINER)
    written.slots[layout.LOSS], written.slots[layout.LOSS_UPDATE], written.slots[layout.RANK] = math.inf, 7, -1
    (page,) = PageFolder(tmp_path).scan()
    alerts = fed(rules(), ScriptRank(page).said())
    assert [(alert.kind, alert.text.partition(":")[0]) for alert in alerts] == [
        ("nonfinite_loss", "the loss is NaN or Inf at step 7")
    ]


def test_gpu_lost_and_throttled() -> None:
    watched = rules()
    lost = HardwareSample(interval=1.0, gpus=(GpuSample(index=1, error="lost"),))
    assert [alert.kind for alert in fed(watched, [lost, lost])] == ["gpu_lost"]
    hot = HardwareSample(interval=1.0, gpus=(GpuSample(index=0, throttle=("hardware thermal",), temperature=93.0),))
    capped = HardwareSample(interval=1.0, gpus=(GpuSample(index=0, throttle=("power cap",)),))
    assert not fed(watched, [*[hot] * 20, capped, *[hot] * 20, *[capped] * 100])
    (alert,) = fed(watched, [hot] * 60)
    assert alert.kind == "gpu_throttled"
    assert "hardware thermal at 93 °C" in alert.text


def test_full_disk() -> None:
    watched = rules(disk_free_gib=2)
    assert not list(watched.tick(1.0, 3 << 30))
    assert [alert.kind for alert in watched.tick(2.0, 1 << 30)] == ["disk_full"]
    assert not list(watched.tick(3.0, 1 << 30))


def test_rate_limit() -> None:
    """A kind comes once in a while, an end always, and a kind that is off never."""
    limit = RateLimit(AlertSettings(kinds=("slow", "failed"), repeat_minutes=1))
    slow, failed, stalled = (Alert(kind=kind, title="", text="", run="") for kind in ("slow", "failed", "stalled"))
    assert [limit.passes(slow, now) for now in (0.0, 59.0, 61.0)] == [True, False, True]
    assert [limit.passes(failed, now) for now in (0.0, 1.0)] == [True, True]
    assert not limit.passes(stalled, 0.0)


def test_text_of_users_is_plain() -> None:
    """Escape codes of an error reach no other program."""
    (alert,) = fed(rules(), [RunEnded(outcome=Outcome.FAILED, reason="bad \x1b[31m value\x07")])
    assert alert.text.isprintable()
