"""Fuzzed configuration files and command lines: a result or one clear error line, never a traceback."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import TEXTS, acts_on_a_terminal, texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.settings import parse_override
from gputrain.engine.runs import run_directory
from gputrain.profiles import catalog
from gputrain.tui.cli import main

fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            texts | st.sampled_from(["data", "optim", "batch_size", "lr", "epochs", "model"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
YAML_TRICKS = (
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/name:os.system",
    "a: &a [*a]",
    "&a [&b [*a, *b]]",
    "- " * 2000,
    "{" * 3000,
    "a: 1\na: 2",
    "? {a: b}\n: c",
    "\x00",
    "batch_size: 0x",
    "batch_size: 1" + "0" * 5000,
    "lr: .nan",
    "epochs: 2026-11-21",
    "--- 1\n--- 2",
    "%YAML 9.9\n---\n",
)


def refused_or_taken(path: Path) -> None:
    try:
        read_config(path)
    except BadInput as error:
        shown = str(error)
        assert shown
        assert not acts_on_a_terminal(shown), shown


@fuzz
@given(trees)
def test_any_tree_as_configuration(tmp_path: Path, tree: Any) -> None:
    path = tmp_path / "config.yaml"
    try:
        path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    except UnicodeEncodeError:
        path.write_bytes(repr(tree).encode("utf-8", "surrogatepass"))
    refused_or_taken(path)


@fuzz
@given(st.binary(max_size=300) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    refused_or_taken(path)


@pytest.mark.parametrize("content", YAML_TRICKS)
def test_yaml_attacks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(content)
    refused_or_taken(path)
    assert not (tmp_path / "pwned").exists()


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    steps = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    path.write_text(f"a0: &a0 [x]\n{steps}\n")
    with pytest.raises(BadInput):
        read_config(path)


@fuzz
@given(texts)
def test_any_override(text: str) -> None:
    with contextlib.suppress(BadInput):
        parse_override(text)


COMMANDS = ("runs", "tail", "stop", "recipes", "profiles", "settings")
words = texts | st.sampled_from(
    ["--json", "--plain", "-n", "3", "--state", "--no-follow", "last", "..", "./x", "/", "--", "-", "", "a=b", "--now"]
)


@fuzz
@given(st.sampled_from(COMMANDS), st.lists(words, max_size=4))
def test_any_command_line(command: str, arguments: list[str]) -> None:
    if any(":" in argument for argument in arguments):
        return  # names of hosts: see test_remote_name.py
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.main([command, *arguments])
        except SystemExit as left:
            code = int(left.code or 0)
    assert code in (0, 1, 2)
    assert "Traceback" not in err.getvalue()
    assert not acts_on_a_terminal(out.getvalue() + err.getvalue())


@pytest.mark.parametrize("name", ["..", ".", "../..", "../runs", "/", "...", "~", "./.."])
def test_no_name_leads_out_of_its_folder(private_homes: Path, name: str) -> None:
    (private_homes / "state" / "secret").mkdir(parents=True)
    run_directory.create("demo")
    with pytest.raises(BadInput):
        run_directory.find(name)
    for kind in ("recipe", "profile"):
        with pytest.raises(BadInput):
            getattr(catalog, f"load_{kind}")(name)


@pytest.mark.parametrize("label", TEXTS)
def test_no_label_leaves_the_folder_of_runs(private_homes: Path, label: str) -> None:
    run = run_directory.create(label)
    assert run.directory.parent == run_directory.runs_home()
    assert run.id.isascii()
    assert run.id.isprintable()
