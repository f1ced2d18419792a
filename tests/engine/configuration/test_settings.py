"""The settings table, checked values and overrides: what is accepted, and how a refusal reads."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import setting_definitions, settings


def test_each_setting_is_described_and_its_default_passes_its_own_check() -> None:
    for setting in settings.table().values():
        assert setting.description, setting.name
        assert settings.check(setting, setting.default) == setting.default


def test_the_table_holds_every_field_of_the_configuration_once() -> None:
    names = [f.name for part in _parts() for f in msgspec.structs.fields(part)]
    assert sorted(settings.table()) == sorted(names)


def _parts() -> list[Any]:
    sections = [f.type for f in msgspec.structs.fields(setting_definitions.RunConfig) if f.name in settings.sections()]
    top = msgspec.defstruct("Top", [(n, t) for n, t in _top_fields()])
    return [top, *sections]


def _top_fields() -> list[tuple[str, Any]]:
    return [
        (f.name, f.type)
        for f in msgspec.structs.fields(setting_definitions.RunConfig)
        if f.name not in settings.sections()
    ]


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("batch_size=64", "batch_size", 64),
        ("data.batch_size=64", "batch_size", 64),
        ("batch_size=64.0", "batch_size", 64),
        ("lr=1", "lr", 1.0),
        ("lr=1e-3", "lr", 0.001),
        ("lr=.5", "lr", 0.5),
        ("compile=true", "compile", True),
        ("compile=off", "compile", False),
        ("precision=fp16", "precision", "fp16"),
        ("name=", "name", ""),
        ("name=a=b", "name", "a=b"),
        ("data_dir=/data/my images", "data_dir", "/data/my images"),
        ("name=12", "name", "12"),
        (" batch_size = 8 ", "batch_size", 8),
    ],
)
def test_an_override_is_parsed_to_the_type_of_the_setting(argument: str, name: str, value: object) -> None:
    parsed = settings.parse_override(argument)
    assert parsed == (name, value)
    assert type(parsed[1]) is type(value)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("batch_size=0", "batch_size=0: batch_size must be ≥ 1, got 0"),
        ("batch_size=70000", "batch_size=70000: batch_size must be ≤ 65536, got 70000"),
        ("batch_size=many", "batch_size=many: batch_size must be a whole number, got 'many'"),
        ("batch_size=1.5", "batch_size=1.5: batch_size must be a whole number, got 1.5"),
        ("batch_size=true", "batch_size=true: batch_size must be a whole number, got true"),
        ("batch_size=", "batch_size=: batch_size must be a whole number, got nothing"),
        ("batch_size=[1]", "batch_size=[1]: batch_size must be a whole number, got '[1]'"),
        ("batch_size=2001-01-01", "batch_size=2001-01-01: batch_size must be a whole number, got '2001-01-01'"),
        ("batchsize=1", "batchsize=1: unknown setting 'batchsize'; did you mean 'batch_size'?"),
        ("optim.batch_size=1", "optim.batch_size=1: unknown setting 'optim.batch_size'"),
        ("lr=0", "lr=0: lr must be > 0, got 0.0"),
        ("lr=.nan", "lr=.nan: lr must be a finite number, got nan"),
        ("lr=.inf", "lr=.inf: lr must be a finite number, got inf"),
        ("warmup_epochs=.inf", "warmup_epochs=.inf: warmup_epochs must be a finite number, got inf"),
        ("compile=1", "compile=1: compile must be true or false, got 1"),
        ("precision=fp15", "precision must be one of auto, fp32, fp16, bf16, got 'fp15'; did you mean 'fp16'?"),
        ("train_split=", "train_split=: train_split must not be empty, got ''"),
        ("checkpoint_steps=" + "9" * 30, "must be a whole number below 2^63, got a number of more than 64 bits"),
        ("name=" + "x" * 81, "name must have at most 80 characters"),
        ("data_dir=a\0b", "data_dir must be one line of text in UTF-8 without control characters"),
        ("data_dir=\udcff", "data_dir must be one line of text in UTF-8 without control characters"),
        ("batch_size", "'batch_size': expected setting=value, for example batch_size=64"),
        ("=3", "'=3': expected setting=value"),
        ("", "'': expected setting=value"),
    ],
)
def test_a_bad_override_is_refused_with_the_remedy(argument: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings.parse_override(argument)
    assert message in str(caught.value)


def _try(argument: str) -> tuple[dict[str, Any], str]:
    """The parsed override, or the refusal."""
    try:
        name, value = settings.parse_override(argument)
    except BadInput as error:
        return {}, str(error)
    return {name: value}, ""


@given(st.sampled_from(sorted(settings.table())), st.text(max_size=200))
def test_any_override_gives_a_checked_value_or_bad_input(name: str, text: str) -> None:
    values, refusal = _try(f"{name}={text}")
    assert refusal.isprintable()
    built = settings.build(values)
    sent = msgspec.json.decode(msgspec.json.encode(built), type=setting_definitions.RunConfig)
    assert settings.flatten(sent) == {**settings.flatten(setting_definitions.RunConfig()), **values}


@given(st.text(max_size=100))
def test_any_argument_gives_a_setting_or_bad_input(argument: str) -> None:
    values, refusal = _try(argument)
    assert refusal.isprintable()
    assert bool(refusal) != bool(values)
    assert set(values) <= set(settings.table())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(settings.table())), VALUES)
def test_any_value_from_a_file_is_checked_without_another_exception(name: str, value: object) -> None:
    setting = settings.table()[name]
    try:
        checked = settings.check(setting, value)
    except BadInput:
        return
    assert type(checked) is setting.kind


def test_a_number_too_large_to_print_is_still_refused_in_words() -> None:
    with pytest.raises(BadInput, match="more than 64 bits"):
        settings.check(settings.find("max_steps"), 10**5000)
    with pytest.raises(BadInput, match="more than 64 bits"):
        settings.check(settings.find("lr"), 10**5000)


def test_build_and_flatten_are_inverse() -> None:
    built = settings.build({"batch_size": 8, "lr": 1, "name": "x", "precision": "bf16"})
    assert (built.data.batch_size, built.optim.lr, built.name, built.speed.precision) == (8, 1.0, "x", "bf16")
    assert settings.build(settings.flatten(built)) == built


def test_replace_checks_and_changed_lists_what_differs() -> None:
    before = setting_definitions.RunConfig()
    after = settings.replace(before, num_workers=5, name="b")
    assert settings.changed(before, after) == {"name": ("", "b"), "num_workers": (2, 5)}
    assert settings.changed(before, after, ignore=["name"]) == {"num_workers": (2, 5)}
    with pytest.raises(BadInput, match="num_workers must be ≥ 0, got -1"):
        settings.replace(before, num_workers=-1)


def test_choices_come_from_the_annotations() -> None:
    assert settings.find("precision").choices == get_args(setting_definitions.Precision)
    assert settings.find("speed.precision") is settings.find("precision")
