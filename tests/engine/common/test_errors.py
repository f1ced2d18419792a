"""The nearest known name, and exit codes that stay apart."""

from __future__ import annotations

from gputrain.engine.common import errors


def test_the_nearest_name_is_offered_and_a_far_one_is_not() -> None:
    assert errors.did_you_mean("num_worker", ["num_workers", "name"]) == "; did you mean 'num_workers'?"
    assert errors.did_you_mean("zzz", ["num_workers", "name"]) == ""
    assert errors.did_you_mean("x", []) == ""


def test_exit_codes_are_distinct_and_zero_means_finished() -> None:
    codes = [v for k, v in vars(errors).items() if k.startswith("EXIT_")]
    assert len(set(codes)) == len(codes) == 7
    assert errors.EXIT_FINISHED == 0
