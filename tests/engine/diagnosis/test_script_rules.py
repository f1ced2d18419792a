"""The diagnosis of a script of the user's own, from its events to its first hint."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.scripts.made_events import LOADER, NO_WORKERS, STEPS, WORKERS, second, started
from msgspec.structs import replace

from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.autotune import SENDER, Autotune
from gputrain.engine.events import Hint, LoaderFound, LoaderStats

TWO = replace(LOADER, num_workers=2, prefetch_factor=2)
FILES = 160 * 100_000


def hints(loader: LoaderFound, stats: LoaderStats | None, wait: float, **machine: Any) -> tuple[Hint, ...]:
    """What is said after a minute of the same second."""
    advisor = Advisor()
    for event in started(loader):
        advisor.feed(event)
    for at in range(11, 80):
        for event in second(float(at), wait, stats, **machine):
            advisor.feed(event)
    assert advisor.has_judged
    return advisor.hints()


CASES: list[tuple[str, LoaderFound, LoaderStats, dict[str, Any], str]] = [
    ("no workers, decoding", LOADER, NO_WORKERS, {}, "no-workers"),
    (
        "no workers, slow files",
        LOADER,
        replace(NO_WORKERS, cpu_ratio=0.1, read_share=0.85, bytes_read=FILES),
        {},
        "no-workers",
    ),
    (
        "no workers, all cores busy, waiting",
        LOADER,
        replace(NO_WORKERS, cpu_ratio=0.1, read_share=0.85),
        {"cpu": 99.0},
        "no-workers",
    ),
    (
        "no workers, others take the cores",
        LOADER,
        replace(NO_WORKERS, cpu_ratio=0.4, run_delay=0.55),
        {"cpu": 99.0, "foreign_cpu": 7.0},
        "cpu-neighbour",
    ),
    (
        "no workers, quota",
        LOADER,
        replace(NO_WORKERS, cpu_ratio=0.3, run_delay=0.65),
        {"throttled_share": 0.9},
        "cpu-quota",
    ),
    ("few workers", TWO, WORKERS, {}, "few-workers"),
    ("slow files", TWO, replace(WORKERS, cpu_ratio=0.07, read_share=0.83, bytes_read=FILES), {}, "disk"),
    ("a server", TWO, replace(WORKERS, cpu_ratio=0.14, read_share=0.83), {}, "disk"),
    ("a lock", TWO, replace(WORKERS, cpu_ratio=0.18, read_share=0.15, lock_share=0.58, bytes_read=FILES), {}, "lock"),
    ("quota", TWO, replace(WORKERS, cpu_ratio=0.29, run_delay=0.7), {"throttled_share": 0.9}, "cpu-quota"),
    (
        "two hogs beside",
        TWO,
        replace(WORKERS, cpu_ratio=0.45, run_delay=0.5),
        {"cpu": 99.0, "foreign_cpu": 7.0},
        "cpu-neighbour",
    ),
]


@pytest.mark.parametrize(
    ("loader", "stats", "machine", "cause"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_cause_is_named_first(loader: LoaderFound, stats: LoaderStats, machine: dict[str, Any], cause: str) -> None:
    assert hints(loader, stats, 0.6, **machine)[0].id == cause


def test_the_advice_names_argument_and_line() -> None:
    first = hints(LOADER, NO_WORKERS, 0.6)[0]
    assert first.title == "No data workers: the training loop makes the batches itself"
    assert first.action == "DataLoader(num_workers=3, persistent_workers=True) at my_train.py:41."
    assert first.changes == {"num_workers": 3}
    assert first.prediction is not None
    assert first.prediction.high is not None
    assert first.prediction.high > STEPS.images_per_second


def test_a_framework_is_advised_by_its_own_argument() -> None:
    first = hints(replace(LOADER, kind="accelerate.data_loader.DataLoaderShard"), NO_WORKERS, 0.6)[0]
    assert "dataloader_num_workers=3" in first.action


def test_waiting_for_a_server_is_not_called_reading_files() -> None:
    first = hints(TWO, replace(WORKERS, cpu_ratio=0.14, read_share=0.83), 0.6)[0]
    assert first.title == "The data set waits, but not for files, a core or a lock"
    assert first.changes["num_workers"] > 2


def test_an_iterable_data_set_gets_words_and_no_change() -> None:
    first = hints(replace(LOADER, iterable=True, order_kept=False), NO_WORKERS, 0.6)[0]
    assert first.id == "no-workers"
    assert "num_workers=3" in first.action
    assert first.changes == {}


@pytest.mark.parametrize(
    ("loader", "stats", "said"),
    [
        (LOADER, NO_WORKERS, ""),
        (LOADER, replace(NO_WORKERS, draws=True), "augmented by other random numbers"),
        (replace(LOADER, order_kept=False), NO_WORKERS, "the order of the samples may be another"),
    ],
)
def test_what_a_change_would_not_leave_the_same_is_said_before(
    loader: LoaderFound, stats: LoaderStats, said: str
) -> None:
    first = hints(loader, stats, 0.6)[0]
    assert first.changes == {"num_workers": 3}
    assert said in first.action
    assert ("Changed in this run" in first.action) == bool(said)


@pytest.mark.parametrize("loader", [LOADER, TWO])
def test_a_healthy_script_has_no_alarm(loader: LoaderFound) -> None:
    stats = replace(NO_WORKERS if loader is LOADER else WORKERS, busy=0.04)
    assert [hint.severity for hint in hints(loader, stats, 0.02)] == ["info"]


def test_without_a_loader_the_diagnosis_abstains() -> None:
    advisor = Advisor()
    for event in started(None):
        advisor.feed(event)
    for at in range(11, 80):
        for event in second(float(at), 0.0, None):
            advisor.feed(replace(event, wait_unknown=True) if type(event) is type(STEPS) else event)
    assert advisor.hints() == ()
    assert not advisor.has_judged


def test_autotune_takes_the_advice() -> None:
    tune = Autotune()
    for event in started():
        tune.feed(event)
    wanted = tune.next(hints(LOADER, NO_WORKERS, 0.6))
    assert wanted is not None
    assert (wanted.changes, wanted.sender) == ({"num_workers": 3}, SENDER)
