"""What may change in a run that goes on: every setting is judged, and each judgement is told."""

from __future__ import annotations

import msgspec
import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.resume_changes import FIXED, FREE, GLOBAL_BATCH, ROUNDING, check_changes
from gputrain.engine.configuration.setting_definitions import RunConfig

BASE = settings.flatten(RunConfig())


def test_the_classes_name_settings_and_do_not_overlap() -> None:
    judged = FIXED | FREE | ROUNDING | set(GLOBAL_BATCH)
    assert set(BASE) >= judged
    assert len(FIXED) + len(FREE) + len(ROUNDING) + len(GLOBAL_BATCH) == len(judged)


def test_monitoring_settings_do_not_change_a_training() -> None:
    assert set(msgspec.structs.asdict(RunConfig().monitor)) <= FREE
    assert set(msgspec.structs.asdict(RunConfig().checkpoint)) - FREE == {"validate_epochs", "early_stop"}


@pytest.mark.parametrize("name", sorted(FIXED))
def test_fixed_settings_are_refused_with_the_old_value(name: str) -> None:
    with pytest.raises(BadInput, match=rf"{name}: was .* and is other; .* set {name}="):
        check_changes(BASE, {**BASE, name: "other"})


@pytest.mark.parametrize("name", sorted(FREE))
def test_changes_without_effect_have_no_note(name: str) -> None:
    assert check_changes(BASE, {**BASE, name: "other"}) == []


def test_rounding_changes_and_training_changes_have_different_notes() -> None:
    told = check_changes(BASE, {**BASE, "precision": "bf16", "lr": 0.5})
    assert told == [
        "lr: was 0.1 and is 0.5: the training differs from here on",
        "precision: was auto and is bf16: the same training with different rounding from here on",
    ]


def test_a_setting_unknown_to_an_older_version_is_no_change() -> None:
    before = {name: value for name, value in BASE.items() if name != "batch_size"}
    assert check_changes(before, {**BASE, "batch_size": 7}) == []


def test_another_division_of_the_same_images_per_update_is_no_other_training() -> None:
    before = {**BASE, "batch_size": 8, "devices": 2, "accumulation_steps": 2}
    told = check_changes(before, {**before, "devices": 4, "accumulation_steps": 1})
    assert told == [
        "devices: was 2 and is 4; accumulation_steps: was 2 and is 1; each update has the same 32 images as before"
    ]
    assert check_changes(before, {**before, "batch_size": 16, "devices": 1})[0].endswith(
        "each update has the same 32 images as before; the last update of an epoch may have other samples"
    )
    assert check_changes(before, {**before, "global_batch_size": 32}) == []


@pytest.mark.parametrize("name", ["batch_size", "devices", "accumulation_steps"])
def test_another_number_of_images_per_update_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=rf"{name}: was .*; 96 images per update, not 32; .*global_batch_size=32,"):
        check_changes({**BASE, name: BASE[name]}, {**BASE, name: 3 * BASE[name]})
