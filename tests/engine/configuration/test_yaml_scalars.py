"""Numbers, words and dates in files and on the command line: what a person expects, or a refusal with the remedy."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common import numbers
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import config_file, settings, yaml_file, yaml_scalars
from gputrain.profiles import assumed_machine, profile_files
from gputrain.tui.cli.main import parser

NUMBERS = [
    ("batch_size", "12", 12),
    ("batch_size", "+12", 12),
    ("batch_size", "12.0", 12),
    ("batch_size", "1e3", 1000),
    ("batch_size", "1E+3", 1000),
    ("batch_size", "1_000", 1000),
    ("batch_size", "0x10", 16),
    ("batch_size", "0o10", 8),
    ("batch_size", "0b10", 2),
    ("batch_size", "'64'", 64),
    ("val_batch_size", "0", 0),
    ("val_batch_size", "-0", 0),
    ("lr", "1", 1.0),
    ("lr", ".5", 0.5),
    ("lr", "+.5", 0.5),
    ("lr", "5.", 5.0),
    ("lr", "1e-3", 0.001),
    ("lr", "1.5E-3", 0.0015),
    ("lr", "0.1_5", 0.15),
    ("lr", "0.010", 0.01),
    ("lr", "'0.1'", 0.1),
    ("compile", "yes", True),
    ("compile", "On", True),
    ("compile", "no", False),
    ("compile", "OFF", False),
    ("compile", "false", False),
]
REFUSED = [
    ("batch_size", "010", "must be a whole number, got '010': write 10 (or 0o10 for the octal number)"),
    ("batch_size", "+010", "got '+010': write +10 (or 0o10 for the octal number)"),
    ("batch_size", "08", "got '08': write 8"),
    ("batch_size", "0_8", "got '0_8': write 8"),
    ("batch_size", "'010'", "got '010': write 10"),
    ("batch_size", "1:30", "must be a whole number, got '1:30': a number has no colon"),
    ("sample_seconds", "1:30", "must be a number, got '1:30': a number has no colon"),
    ("hang_seconds", "1:30:00.5", "a number has no colon"),
    ("lr", "010", "must be a number, got '010': write 10 (or 0o10"),
    ("lr", "00.5", "got '00.5': write 0.5"),
    ("lr", "00", "got '00': write 0"),
    ("lr", "0,1", "got '0,1'; write a decimal point, and no thousands separator"),
    ("batch_size", "1,000", "got '1,000'; write a decimal point, and no thousands separator"),
    ("batch_size", "1 000", "must be a whole number, got '1 000'"),
    ("batch_size", "1__0", "must be a whole number, got '1__0'"),
    ("batch_size", "1_", "must be a whole number, got '1_'"),
    ("batch_size", "0x", "must be a whole number, got '0x'"),
    ("batch_size", "0b2", "must be a whole number, got '0b2'"),
    ("batch_size", "64k", "must be a whole number, got '64k'"),
    ("batch_size", "yes", "must be a whole number, got true"),
    ("batch_size", "1e-3", "must be a whole number, got 0.001"),
    ("batch_size", "\u0661", "must be a whole number, got '\u0661': write 1 in ASCII characters"),
    ("batch_size", "\uff11\uff12", "got '\uff11\uff12': write 12 in ASCII characters"),
    ("lr", "\uff10.\uff11", "must be a number, got '\uff10.\uff11': write 0.1 in ASCII characters"),
    ("batch_size", "1.000", "got '1.000': write 1000, without a thousands separator, or 1"),
    ("batch_size", "'1.000'", "got '1.000': write 1000, without a thousands separator, or 1"),
    ("batch_size", "1.500", "got '1.500': write 1500, without a thousands separator"),
    ("batch_size", "1.000.000", "got '1.000.000': write 1000000, without a thousands separator"),
    ("batch_size", "1,000,000", "got '1,000,000'; write a decimal point, and no thousands separator"),
    ("lr", "1e400", "must be a finite number, got inf"),
    ("lr", "1e30", "must be a number below 2^63, got 1e+30"),
    ("lr", "1e", "must be a number, got '1e'"),
    ("lr", "50%", "must be a number, got '50%'"),
    ("lr", "inf", "must be a finite number, got inf"),
    ("lr", "-.inf", "must be a finite number, got -inf"),
    ("lr", "NaN", "must be a finite number, got nan"),
    ("lr", "1e999", "must be a finite number, got inf"),
    ("compile", "1", "must be true or false, got 1"),
    ("compile", "y", "must be true or false, got 'y'"),
]
LISTS = [
    ("value_range", "[0, 1e3]", "[0, 1000]"),
    ("value_range", "[.5, 1.]", "[0.5, 1]"),
    ("value_range", "[+0, 4_095]", "[0, 4095]"),
    ("value_range", "[-0x10, 0xfff]", "[-16, 4095]"),
    ("mean", "[.5, 5e-1, +0.5]", "0.5, 0.5, 0.5"),
    ("std", ".25", "0.25, 0.25, 0.25"),
]
LISTS_REFUSED = [
    ("value_range", "[0, 010]", "'010' is no number: write 10 (or 0o10 for the octal number)"),
    ("value_range", "[0, 1:30]", "'1:30' is no number: a number has no colon"),
    ("value_range", "[0, \uff11]", "'\uff11' is no number: write 1 in ASCII characters"),
    ("value_range", "[0, .inf]", "low < high"),
    ("value_range", "[0, .nan]", "low < high"),
    ("value_range", "[0]", "two numbers"),
    ("mean", "[0.5, 00.5, 0.5]", ": write 0.5"),
    ("mean", "\uff10.5", ": write 0.5 in ASCII characters"),
    ("std", "[0.5, .nan, 0.5]", "above 0 and at most 1"),
]
TEXTS = ["010", "1:30", "12", "1_000", "0x10", "1e3", ".5", "2001-01-01", "yes", "off", "true", "3.10", "inf", "0o7"]


@pytest.mark.parametrize(("name", "text", "value"), NUMBERS)
def test_files_and_command_line_read_the_same_number(name: str, text: str, value: object) -> None:
    section = settings.find(name).section
    grouped = yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"{section}:\n  {name}: {text}\n"))
    for found in (grouped, dict([settings.parse_override(f"{name}={text}")])):
        assert found == {name: value}
        assert type(found[name]) is type(value)


@pytest.mark.parametrize(("name", "text", "message"), REFUSED)
def test_what_has_no_single_reading_is_refused_with_its_place(name: str, text: str, message: str) -> None:
    section = settings.find(name).section
    with pytest.raises(BadInput) as caught:
        yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"epochs: 1\n{section}:\n  {name}: {text}\n"))
    assert str(caught.value).startswith(f"a.yaml:3: {name} must be")
    assert message in str(caught.value)
    with pytest.raises(BadInput) as caught:
        settings.parse_override(f"{name}={text}")
    assert str(caught.value).startswith(f"{name}={text}: {name} must be")
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "text", "value"), LISTS)
def test_numbers_in_lists_follow_the_same_rule(name: str, text: str, value: str) -> None:
    from_file = yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"{name}: {text}\n"))
    assert from_file == dict([settings.parse_override(f"{name}={text}")]) == {name: value}


@pytest.mark.parametrize(("name", "text", "message"), LISTS_REFUSED)
def test_numbers_in_lists_are_refused_by_the_same_rule(name: str, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"{name}: {text}\n"))
    with pytest.raises(BadInput, match=re.escape(message)):
        settings.parse_override(f"{name}={text}")


def test_a_remedy_leads_to_no_other_refusal() -> None:
    with pytest.raises(BadInput, match=r"must be a whole number, got '-010'$"):
        settings.parse_override("batch_size=-010")


@pytest.mark.parametrize(
    ("option", "word", "value"),
    [("--lines", "1e3", 1000), ("--lines", "0x10", 16), ("--interval", ".5", 0.5), ("--gpu", "1", [1])],
)
def test_options_follow_the_same_rule(option: str, word: str, value: object) -> None:
    found = parser().parse_args(["monitor", option, word])
    assert getattr(found, option.strip("-")) == value


@pytest.mark.parametrize(
    ("option", "word", "message"),
    [
        ("--lines", "010", "'010': write 10 (or 0o10"),
        ("--lines", "\uff11\uff12", "write 12 in ASCII characters"),
        ("--interval", "1:30", "a number has no colon"),
        ("--interval", "nan", "0.2 to 3600 seconds"),
        ("--gpu", "-1", "the index of a GPU"),
        ("--pid", "0", "a process id"),
        ("--pid", "1" * 5000, "a process id"),
    ],
)
def test_options_are_refused_by_the_same_rule(
    option: str, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["monitor", f"{option}={word}"])
    assert left.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cores=010", ": write 10"),
        ("ram=\uff16\uff14", "write 64 in ASCII"),
        ("gpus=nan", "above 0"),
        ("gpus=2.5", "a whole number above 0 and at most 64"),
        ("gpus=65", "at most 64"),
        ("images=0.5", "a whole number"),
    ],
)
def test_assumed_machines_follow_the_same_rule(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        assumed_machine.parse(f"a10g-23gb,{text}")
    assert assumed_machine.parse("a10g-23gb,ram=6e1").ram == 60


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_as_it_is_written(tmp_path: Path, text: str) -> None:
    assert yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"name: {text}\n")) == {"name": text}
    assert settings.parse_override(f"name={text}") == ("name", text)
    config = settings.build({"name": text, "train_split": text})
    config_file.write_config(tmp_path / "config.yaml", config, {})
    assert config_file.read_config(tmp_path / "config.yaml") == config


def test_a_null_is_an_empty_text() -> None:
    for text in ("~", "null", ""):
        assert yaml_file.read_settings(yaml_file.parse(Path("a.yaml"), f"name: {text}\n")) == {"name": ""}


def test_profiles_refuse_them_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: t\nmatch: {device: cpu}\npresets:\n  one:\n    batch_size: 010\ndefault_preset: one\n")
    with pytest.raises(BadInput, match=r"mine.yaml:5: batch_size must be a whole number, got '010': write 10"):
        profile_files.read_profile(path)


@given(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False))
def test_every_number_that_yaml_writes_is_read_back(value: float) -> None:
    written = yaml.safe_dump(value).removesuffix("...\n").strip()
    assert yaml_scalars.load_word(written) == value
    assert numbers.number(repr(value)) == value


@given(st.text(alphabet="0123456789_.:eExob+-,infa", max_size=8))
def test_a_number_is_what_python_or_yaml_reads_too(text: str) -> None:
    found = numbers.number(text)
    if found is None or math.isinf(found) or math.isnan(found):
        return
    readings = []
    for read in (int, float, lambda word: int(word, 0)):
        try:
            readings.append(read(text))
        except (ValueError, OverflowError):
            continue
    assert found in readings
