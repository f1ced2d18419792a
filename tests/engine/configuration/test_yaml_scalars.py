"""Numbers, words and dates in files and on the command line: what a person expects, or a refusal with the remedy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import config_file, settings, yaml_file, yaml_scalars
from gputrain.profiles import profile_files

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
    ("batch_size", "\u0661", "must be a whole number, got '\u0661'"),
    ("lr", "1e", "must be a number, got '1e'"),
    ("lr", "50%", "must be a number, got '50%'"),
    ("lr", "inf", "must be a number below 2^63, got inf"),
    ("lr", "-.inf", "must be a number below 2^63, got -inf"),
    ("lr", "NaN", "must be a number below 2^63, got nan"),
    ("lr", "1e999", "must be a number below 2^63, got inf"),
    ("compile", "1", "must be true or false, got 1"),
    ("compile", "y", "must be true or false, got 'y'"),
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
    assert yaml_scalars.number(repr(value)) == value


@given(st.text(alphabet="0123456789_.:eExob+-,infa", max_size=8))
def test_a_number_is_what_python_or_yaml_reads_too(text: str) -> None:
    found = yaml_scalars.number(text)
    if found is None or math.isinf(found) or math.isnan(found):
        return
    readings = []
    for read in (int, float, lambda word: int(word, 0)):
        try:
            readings.append(read(text))
        except (ValueError, OverflowError):
            continue
    assert found in readings
