"""``exec --config FILE``: its options from a YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.scripts.watched import EXEC, run

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs import run_directory
from gputrain.engine.user_script import exec_file
from gputrain.engine.user_script.script_command import read_command

WHOLE = """\
command: sh -c 'exit 3'
name: "010"
tags: [first, baseline]
images_per_step: 64
no_inject: true
autotune: true
pty: true
"""


def test_a_file_gives_all_options_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "exec.yaml"
    path.write_text(WHOLE)
    assert run([*EXEC, "--plain", "--config", str(path)]).returncode == 3
    first = run_directory.find("last")
    command = read_command(first)
    assert (command.argv, command.per_step) == (("sh", "-c", "exit 3"), 64)
    assert (command.inject, command.terminal) == (False, True)
    assert "010" in first.id
    other = [*EXEC, "--plain", "--config", str(path), "--name", "mine", "--images-per-step", "8", "--", "true"]
    assert run(other).returncode == 0
    second = run_directory.find("last")
    assert "mine" in second.id
    assert (read_command(second).argv, read_command(second).per_step) == (("true",), 8)


def test_words_of_a_list_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "exec.yaml"
    path.write_text("command: [python, 'a b.py', '$HOME']\ntags: one\n")
    found = exec_file.read(path)
    assert (found.command, found.tags) == (("python", "a b.py", "$HOME"), ("one",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ntag: y", "2: unknown key tag; known: command, name, tags"),
        ("command: ''", "1: command must not be empty"),
        ("command: python 'train.py", "1: command: no closing quotation"),
        ("command: [python, train.py, 0.10]", "1: command: put 0.1 in quotes"),
        ("command: {a: b}", "1: command must be a text or a list of words"),
        ("\nimages_per_step: 0", "2: images_per_step must be a whole number >= 1, got 0"),
        ("images_per_step: yes", "1: images_per_step must be a whole number >= 1"),
        ("autotune: 1", "1: autotune must be true or false, got 1"),
        ("name: [a]", "1: name must be a word"),
        ("tags: []", "1: tags must be a text or a list of words"),
        ("- python", "1: expected 'key: value' lines"),
        ("command: [", "2: not valid YAML"),
    ],
)
def test_a_bad_key_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "exec.yaml"
    path.write_text(text + "\n")
    with pytest.raises(BadInput) as caught:
        exec_file.read(path)
    assert str(caught.value).startswith(f"{path}:{message}")


def test_a_file_that_is_not_there_and_one_without_a_command(tmp_path: Path) -> None:
    path = tmp_path / "exec.yaml"
    done = run([*EXEC, "--config", str(path), "--", "true"])
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (2, True)
    path.write_text("name: x\n")
    done = run([*EXEC, "--config", str(path)])
    assert (done.returncode, "exec needs a command after --" in done.stderr) == (2, True)
