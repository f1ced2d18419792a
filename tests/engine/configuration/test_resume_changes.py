"""What may change in a run that goes on: every setting is judged, and each judgement is told."""

from __future__ import annotations

import msgspec
import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.resume_changes import FIXED, FREE, ROUNDING, check_changes
from gputrain.engine.configuration.run_config import RunConfig

BASE = settings.flatten(RunConfig())


def test_the_classes_name_settings_and_do_not_overlap() -> None:
    assert set(BASE) >= FIXED | FREE | ROUNDING
    assert len(FIXED) + len(FREE) + len(ROUNDING) == len(FIXED | FREE | ROUNDING)


def test_nothing_that_is_only_watched_changes_a_training() -> None:
    assert set(msgspec.structs.asdict(RunConfig().monitor)) <= FREE
    assert set(msgspec.structs.asdict(RunConfig().checkpoint)) - FREE == {"validate_epochs", "early_stop"}


@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_cannot_change_is_refused_with_the_old_value(name: str) -> None:
    with pytest.raises(BadInput, match=rf"{name}: was .* and is other; .* set {name}="):
        check_changes(BASE, {**BASE, name: "other"})


@pytest.mark.parametrize("name", sorted(FREE))
def test_what_changes_nothing_is_not_told(name: str) -> None:
    assert check_changes(BASE, {**BASE, name: "other"}) == []


def test_a_change_of_the_arithmetic_and_one_of_the_course_are_told_apart() -> None:
    told = check_changes(BASE, {**BASE, "precision": "bf16", "lr": 0.5})
    assert told == [
        "lr: was 0.1 and is 0.5: the training differs from here on",
        "precision: was auto and is bf16: the same training with different rounding from here on",
    ]


def test_a_setting_that_the_older_version_did_not_have_is_no_change() -> None:
    before = {name: value for name, value in BASE.items() if name != "batch_size"}
    assert check_changes(before, {**BASE, "batch_size": 7}) == []
