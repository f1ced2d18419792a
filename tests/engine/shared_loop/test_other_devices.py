"""A run that goes on with another number of devices: its position, its steps and its learning rates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.plans import gpu
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.checkpointing.resume_position import ResumePosition, resumed_position
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.launching import launch, resume_run
from gputrain.engine.launching.launch import PlanRecord
from gputrain.engine.planning.plan import Plan
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.shared_loop.lr_schedule import LRSchedule

DIVISIONS = ((1, 4), (2, 2), (4, 1))
"""Devices and accumulation_steps that make updates of four batches."""


def config(devices: int, steps: int, **values: Any) -> RunConfig:
    return settings.build({"batch_size": 4, "devices": devices, "accumulation_steps": steps, "epochs": 3} | values)


def schedule(made: RunConfig, count: int) -> LRSchedule:
    return LRSchedule(made, batch_sampler.batch_count(count, 4, drop_last=True, ranks=made.devices))


@given(count=st.integers(16, 200), data=st.data())
def test_the_next_update_is_the_same_and_so_are_all_learning_rates(count: int, data: st.DataObject) -> None:
    per_epoch = math.ceil(count // 4 / 4)
    epoch, updates = data.draw(st.integers(0, 2)), data.draw(st.integers(0, per_epoch))
    before, after = (config(*data.draw(st.sampled_from(DIVISIONS))) for _ in range(2))
    old, new = schedule(before, count), schedule(after, count)
    steps = old.total_steps // 3
    batch = min(updates * before.optim.accumulation_steps, steps)
    position = ResumePosition(epoch=epoch, batch=batch, step=epoch * steps + batch, updates=epoch * per_epoch + updates)
    found = resumed_position(position, settings.flatten(before), after, count)
    new.go_on(found)
    now = math.ceil(count // 4 / after.devices)
    assert found.step == position.step, "newer checkpoints have higher steps"
    assert found.batch == min(updates * after.optim.accumulation_steps, now)
    assert new.total_updates == old.total_updates == 3 * per_epoch
    assert [new.lr_at(n) for n in range(new.total_updates)] == [old.lr_at(n) for n in range(old.total_updates)]
    assert new.total_steps == position.step + (3 - epoch) * now - found.batch


def test_max_steps_still_ends_the_run() -> None:
    made = schedule(config(1, 4, max_steps=10), 40)
    # 7 steps of two devices were 14 batches: an epoch of 10, and 4 more.
    made.go_on(ResumePosition(epoch=1, batch=4, step=7, updates=4))
    assert (made.total_steps, made.total_updates) == (10, 5)


@pytest.fixture
def saved(tmp_path: Path) -> RunDir:
    """A run of two devices with 32 images per update."""
    run = RunDir(tmp_path / "run")
    run.directory.mkdir()
    made = settings.build({"batch_size": 8, "devices": 2, "accumulation_steps": 2})
    launch.write_settings(run, made, PlanRecord({}, (), None))
    return run


def plan(run: RunDir, gpus: int, **overrides: Any) -> Plan:
    machine = gpu()
    return resume_run.plan_from_run(run, overrides, msgspec.structs.replace(machine, gpus=machine.gpus * gpus))


@pytest.mark.parametrize(
    ("gpus", "overrides", "expected"),
    [
        (2, {}, (8, 2, 2)),
        (4, {"devices": 4}, (8, 4, 1)),
        (1, {}, (8, 1, 4)),
        (8, {"devices": "all"}, (4, 8, 1)),
    ],
)
def test_other_devices_divide_the_same_images(
    saved: RunDir, gpus: int, overrides: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    made = plan(saved, gpus, **overrides)
    assert not made.refuses
    found = made.config
    assert (found.data.batch_size, found.devices, found.optim.accumulation_steps) == expected
    assert math.prod(expected) == 32


def test_devices_that_cannot_divide_them_are_refused(saved: RunDir) -> None:
    (text,) = plan(saved, 3, devices=3).refuses
    assert text == (
        "global_batch_size: 32 images can't be divided among 3 devices with about 8 each; set global_batch_size=24 or "
        "48, or another batch_size or number of devices"
    )
