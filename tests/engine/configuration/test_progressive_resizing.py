from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import progressive_resizing, settings
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer


def growth(**changes: Any) -> ImageSizeSchedule:
    return progressive_resizing.image_size_schedule(settings.flatten(RunConfig()) | changes)


def test_images_of_one_size_by_default() -> None:
    found = growth(image_size=224)
    assert found.stages() == ((0, 224),)
    assert found.at(10_000) == 224
    assert found.cost(10) == 1.0


def test_sizes_grow_in_steps_that_networks_like() -> None:
    found = growth(image_size=224, progressive_start=128, progressive_epochs=12)
    assert found.stages() == ((0, 128), (3, 160), (6, 192), (11, 224))
    assert [found.at(epoch) for epoch in (0, 2, 5, 11, 12, 90)] == [128, 128, 160, 224, 224, 224]


def test_without_a_number_three_quarters_of_the_epochs() -> None:
    assert growth(image_size=224, progressive_start=128, epochs=16).epochs == 12
    assert growth(image_size=224, progressive_start=128, epochs=1).epochs == 1


def test_small_images_grow_in_small_steps() -> None:
    found = growth(image_size=32, progressive_start=16, progressive_epochs=2)
    assert found.stages() == ((0, 16), (1, 24), (2, 32))


@given(size=st.integers(8, 512), start=st.integers(8, 512), epochs=st.integers(1, 60))
def test_any_growth_starts_rises_and_arrives(size: int, start: int, epochs: int) -> None:
    found = growth(image_size=size, progressive_start=start, progressive_epochs=epochs)
    sides = [found.at(epoch) for epoch in range(epochs + 2)]
    assert sides == sorted(sides)
    assert sides[0] == min(start, size)
    assert sides[-2:] == [size, size]
    assert [side for _, side in found.stages()] == sorted(set(sides))
    assert all(found.at(first) == side for first, side in found.stages())
    assert 0 < found.cost(epochs) <= 1


def test_the_cost_is_the_share_of_pixels() -> None:
    found = growth(image_size=200, progressive_start=100, progressive_epochs=1)
    assert found.cost(4) == pytest.approx((0.25 + 3) / 4)
    assert found.cost(1) == pytest.approx(0.25)


def test_the_sentence_leaves_out_what_the_run_does_not_reach() -> None:
    found = growth(image_size=224, progressive_start=128, progressive_epochs=12)
    assert progressive_resizing.sentence(found, 16) == (
        "128 from epoch 1, 160 from epoch 4, 192 from epoch 7, 224 from epoch 12; 70% of the pixels of a run at 224"
    )
    assert progressive_resizing.sentence(found, 5).startswith("128 from epoch 1, 160 from epoch 4; ")


def plan_of(**values: Any) -> Plan:
    machine = Machine(
        hostname="here",
        usable_cores=4.0,
        host_cores=4,
        cpu_model="Some CPU",
        memory_total=64 * GIB,
        memory_limit=64 * GIB,
        memory_available=60 * GIB,
        shm_total=31 * GIB,
        gpus=(),
        gpu_error="no NVIDIA driver",
        driver="",
    )
    return make_plan([SettingsLayer("recipe test", {"image_size": 224, "epochs": 16} | values)], machine)


def test_the_plan_tells_the_sizes() -> None:
    (note,) = [row.note for row in plan_of(progressive_start=128).rows if row.setting == "progressive_start"]
    assert note == (
        "128 from epoch 1, 160 from epoch 4, 192 from epoch 7, 224 from epoch 12; 70% of the pixels of a run at 224"
    )
    assert not [text for text in plan_of().warnings if "progressive" in text]


def test_the_plan_refuses_and_warns() -> None:
    assert plan_of(progressive_start=224).refuses == (
        "progressive_start: 224 is not smaller than image_size (224); 0 trains at one size",
    )
    (refused,) = [text for text in plan_of(progressive_start=128, dataset="custom").refuses if "progressive" in text]
    assert refused.startswith("progressive_start: a custom data set determines its image size itself")
    warnings = plan_of(progressive_start=128, progressive_epochs=20, compile=True).warnings
    assert any("the run ends at 192 pixels, before image_size (224)" in text for text in warnings)
    assert any("compile: each of the 4 image sizes is compiled" in text for text in warnings)
