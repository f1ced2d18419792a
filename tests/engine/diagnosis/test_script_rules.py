"""The diagnosis of a script of the user's own, from its events to its first hint."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.scripts.made_events import LOADER, NO_WORKERS, STEPS, WORKERS, second, started
from msgspec.structs import replace

from gputrain.engine.diagnosis.advisor import Advisor
from gputrain.engine.diagnosis.autotune import SENDER, Autotune
from gputrain.engine.events import Hint, LoaderFound, LoaderStats, RankSteps, ScriptModel, Steps

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
    (
        "slow files, and others beside that take no core from the workers",
        TWO,
        replace(WORKERS, cpu_ratio=0.09, run_delay=0.18, read_share=0.73, bytes_read=FILES),
        {"cpu": 99.0, "foreign_cpu": 7.2},
        "disk",
    ),
    (
        "a lock, and others beside that take no core from the workers",
        TWO,
        replace(WORKERS, cpu_ratio=0.05, run_delay=0.2, read_share=0.1, lock_share=0.55, bytes_read=FILES),
        {"cpu": 99.0, "foreign_cpu": 7.2},
        "lock",
    ),
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


@pytest.mark.parametrize(
    ("framework", "action"),
    [
        ("", "DataLoader(num_workers=3, persistent_workers=True) at my_train.py:41."),
        (
            "transformers",
            "Set dataloader_num_workers=3, dataloader_persistent_workers=True in the TrainingArguments.",
        ),
        (
            "timm",
            "create_loader(num_workers=3, persistent_workers=True) at my_train.py:41; timm's train.py: --workers 3.",
        ),
        (
            "keras",
            "Give fit() a torch DataLoader(num_workers=3, persistent_workers=True), or a PyDataset(workers=3).",
        ),
        (
            "ultralytics",
            (
                "ultralytics uses no data workers on the CPU: it ignores workers= there. "
                "Train on a GPU, or on smaller or cached images (cache=True)."
            ),
        ),
    ],
)
def test_a_framework_is_advised_by_its_own_argument(framework: str, action: str) -> None:
    first = hints(replace(LOADER, framework=framework), NO_WORKERS, 0.6)[0]
    assert first.id == "no-workers"
    assert first.action == action


def test_ultralytics_on_a_gpu_takes_workers() -> None:
    loader = replace(TWO, framework="ultralytics", kind="ultralytics.data.build.InfiniteDataLoader")
    first = hints(loader, WORKERS, 0.6)[0]
    assert first.id == "few-workers"
    assert first.action == f"Set workers={first.changes['num_workers']} in train()."


def test_workers_that_are_made_anew_for_each_pass_are_named() -> None:
    advisor = Advisor()
    for event in started(TWO):
        advisor.feed(event)
    for at in range(11, 80):
        for event in second(float(at), 0.3, replace(WORKERS, busy=0.3)):
            advisor.feed(replace(event, first_batch_wait=0.28) if isinstance(event, Steps) else event)
    first = advisor.hints()[0]
    assert first.id == "epoch-start"
    assert first.action == "DataLoader(persistent_workers=True) at my_train.py:41."
    assert first.changes == {"persistent_workers": True}


@pytest.mark.parametrize(
    ("who", "words"), [("tqdm.auto", "Use: from tqdm import tqdm."), ("the script", "Call iter() once for each pass")]
)
def test_a_loader_that_is_started_twice_is_named_without_any_waiting(who: str, words: str) -> None:
    found = hints(replace(TWO, started_twice=who), replace(WORKERS, busy=0.04), 0.0)
    twice = next(hint for hint in found if hint.id == "loader-started-twice")
    assert twice.severity == "warning"
    assert words in twice.action
    assert twice.changes == {}


def test_a_slow_rank_of_a_script_is_named() -> None:
    advisor = Advisor()
    for event in started(TWO):
        advisor.feed(replace(event, ranks=2) if isinstance(event, ScriptModel) else event)
    for at in range(11, 80):
        for event in second(float(at), 0.0, replace(WORKERS, busy=0.1)):
            advisor.feed(replace(event, exchange=0.4, compute=0.5) if isinstance(event, Steps) else event)
        slow = RankSteps(
            mono=at + 0.5, rank=1, window_steps=10, window_seconds=1.0, data_wait=0.4, compute=0.5, exchange=0.0
        )
        advisor.feed(slow)
    found = next(hint for hint in advisor.hints() if hint.id == "slow-rank")
    assert "rank 1" in found.action.lower()


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
        (LOADER, replace(NO_WORKERS, draws=True), "by other random numbers, and later epochs may have another order."),
        (TWO, replace(WORKERS, draws=True), "augmented by other random numbers."),
        (replace(LOADER, order_kept=False), NO_WORKERS, "the order of the samples may be another"),
    ],
)
def test_what_a_change_would_not_leave_the_same_is_said_before(
    loader: LoaderFound, stats: LoaderStats, said: str
) -> None:
    first = hints(loader, stats, 0.6)[0]
    assert first.changes.keys() == {"num_workers"}
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
