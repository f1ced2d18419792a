"""Configuration files: every fault is one BadInput that names the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import yaml_file


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_flat_and_grouped_settings_are_the_same(tmp_path: Path) -> None:
    flat = yaml_file.load(_write(tmp_path, "batch_size: 64\nlr: 1e-3\nname: test\n"))
    grouped = yaml_file.load(_write(tmp_path, "name: test\ndata:\n  batch_size: 64\noptim:\n  lr: 0.001\n"))
    assert yaml_file.read_settings(flat) == yaml_file.read_settings(grouped)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "~\n"])
def test_an_empty_file_holds_no_settings(tmp_path: Path, text: str) -> None:
    assert yaml_file.read_settings(yaml_file.load(_write(tmp_path, text))) == {}


def test_a_section_without_settings_is_empty_and_a_setting_named_as_its_section_is_not_lost(tmp_path: Path) -> None:
    assert yaml_file.read_settings(yaml_file.load(_write(tmp_path, "data:\nmodel: resnet18\n"))) == {
        "model": "resnet18"
    }
    grouped = yaml_file.load(_write(tmp_path, "model:\n  model: resnet18\n"))
    assert yaml_file.read_settings(grouped) == {"model": "resnet18"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 0\n", ":1: batch_size must be ≥ 1, got 0"),
        ("# one\ndata:\n  image_size: 64\n  batch_size: big\n", ":4: batch_size must be a whole number, got 'big'"),
        ("num_worker: 1\n", ":1: unknown setting 'num_worker'; did you mean 'num_workers'?"),
        ("data:\n  lr: 1\n", ":2: unknown setting 'data.lr'"),
        ("data: 3\n", ":1: data groups settings: expected 'setting: value' lines"),
        ("lr: 1\nlr: 2\n", ":2: lr is given twice (first in line 1)"),
        ("lr: 1\noptim:\n  lr: 2\n", ":3: lr is given twice"),
        ("a: [1\nb: 2\n", ":2: not valid YAML"),
        ("a: 'x\n", "not valid YAML"),
        ("\tlr: 1\n", ":1: not valid YAML"),
        ("- 1\n- 2\n", ":1: expected 'key: value' lines, found a list"),
        ("just words\n", ":1: expected 'key: value' lines, found a str"),
        ("lr: 1\n---\nlr: 2\n", ":2: not valid YAML"),
        ("yes: 1\n", ":1: the key yes must be a word; put it in quotes"),
        ("1: 1\n", ":1: the key 1 must be a word; put it in quotes"),
        ("? [a, b]\n: 1\n", ":1: a key must be a word"),
        ("lr: &x 1\nmomentum: *x\n", ":2: not valid YAML: aliases (*name) are not supported: repeat the value"),
        ("a: &a\n  b: *a\n", ":2: not valid YAML: aliases"),
        ("lr: !!python/object/apply:os.system ['true']\n", ":1: not valid YAML: could not determine a constructor"),
        ("compile: !!bool maybe\n", "not valid YAML"),
        ("lr: !!int ''\n", "not valid YAML"),
        ("lr: !!timestamp x\n", "not valid YAML"),
        ("name: 2001-99-99\n", "not valid YAML"),
        ("lr: " + "1" * 5000 + "\n", "not valid YAML"),
        ("lr: " + "[" * 5000 + "\n", "not valid YAML"),
        (b"name: \xff\n", ": not UTF-8 text (byte 6)"),
        (b"name: a\0b\n", "not valid YAML"),
        (b"x: " + b"y" * yaml_file.MAX_BYTES, ": larger than 64 KiB: not a configuration file"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        yaml_file.read_settings(yaml_file.load(path))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_nested_aliases_do_not_blow_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}" for i in range(1, 60)]
    with pytest.raises(BadInput, match=":2: not valid YAML: aliases"):
        yaml_file.load(_write(tmp_path, "\n".join(lines)))


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        yaml_file.load(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="Is a directory"):
        yaml_file.load(tmp_path)


WORDS = (
    *("data:", "model:", "lr:", "name:", "match:", "-", "?", ":", "[", "]", "{", "}", ",", "&a", "*a", "!", "|", ">"),
    *("'", '"', "%", "@", "`", "#", "---", "...", "1", "0x", "0b", "1:2", "1e9", "true", "null", ".inf", "~", "<<"),
    *("=", "!!int", "!!bool", "!!binary", "!!set", "!!omap", "!!float", "!!timestamp", "%YAML", "2001-1-1"),
)
BLANKS = (" ", "  ", "    ", "\n", "\n\n", "\t", "\r", "é", "\x85", "\ufeff", "\x1b[31m")
PIECES = st.sampled_from([*WORDS, *BLANKS])


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200))
def test_any_text_is_read_or_refused_with_its_file(text: str) -> None:
    refusal = "any.yaml"
    try:
        yaml_file.read_settings(yaml_file.parse(Path("any.yaml"), text))
    except BadInput as error:
        refusal = str(error)
    assert refusal.startswith("any.yaml")
    assert refusal.isprintable()
