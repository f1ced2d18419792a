"""The command line: bad input is reported with its place and remedy, and nothing is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gputrain.engine.runs import run_directory
from gputrain.tui.cli import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says on standard error; it must leave with 2 and start nothing."""
    try:
        code = main.main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    text_shown = capsys.readouterr()
    assert code == 2
    assert text_shown.out == ""
    assert "Traceback" not in text_shown.err
    assert run_directory.list_runs() == []
    return text_shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "batch_size=0"], "batch_size must be ≥ 1, got 0"),
        (["train", "batchsize=8"], "unknown setting 'batchsize'; did you mean 'batch_size'?"),
        (["train", "precision=fp8"], "precision must be one of auto, fp32, fp16, bf16"),
        (["train", "--profile", "rtx-3091-24gb"], "did you mean 'rtx-3090-24gb'?"),
        (["train", "--recipe", "demoo"], "did you mean 'demo'?"),
        (["train", "--preset", "balance"], "did you mean 'balanced'?"),
        (["train", "--data", "/nowhere"], "/nowhere"),
        (["train", "batch_size"], "expected setting=value"),
        (["train", "--bogus"], "unrecognized arguments: --bogus"),
        (["tail", "last"], "there are no runs yet"),
        (["tail", "last", "-n", "0"], "must be a whole number ≥ 1"),
        (["stop", "x"], "there are no runs yet"),
        (["runs", "--state", "runing"], "did you mean 'running'?"),
        (["settings", "batchsize"], "did you mean 'batch_size'?"),
        (["profiles", "../../etc/passwd"], "unknown profile"),
        (["train", "device=cuda"], "device: cuda"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in refused(capsys, *arguments)


def test_a_bad_file_is_named_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("recipe: demo\ndata:\n  batch_size: 0\n")
    assert f"{config}:3: batch_size must be ≥ 1, got 0" in refused(capsys, "train", "--config", str(config))
    config.write_text("data: [1, 2\n")
    assert f"{config}:" in refused(capsys, "train", "--config", str(config))


def test_a_home_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPUTRAIN_HOME", str(tmp_path / "file"))
    assert "set GPUTRAIN_HOME to a folder that you can write" in refused(capsys, "train", "--recipe", "demo")


def test_the_launcher_without_a_terminal_says_what_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert "gputrain-tui train --recipe demo" in refused(capsys)


def test_settings_may_stand_between_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["train", "epochs=3", "--recipe", "demo", "batch_size=5", "--dry-run", "lr=0.25"]) == 0
    text_shown = capsys.readouterr().out
    for name, value in (("epochs", "3"), ("batch_size", "5"), ("lr", "0.25")):
        assert any(line.split()[:3] == [name, value, "you"] for line in text_shown.splitlines()), name


@pytest.mark.parametrize("command", ["profiles", "recipes", "settings", "runs"])
def test_lists_print_a_table_and_json(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main.main([command]) == 0
    assert capsys.readouterr().out
    assert main.main([command, "--json"]) == 0


def test_one_setting_is_explained_with_its_bounds_and_what_may_change(capsys: pytest.CaptureFixture[str]) -> None:
    def told(name: str) -> dict[str, str]:
        assert main.main(["settings", name]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].strip() == name
        return dict(line.rstrip().split("  ", 1) for line in (re.sub(" {2,}", "  ", line) for line in lines[1:]))

    batch = told("batch_size")
    assert batch["values"] == "a whole number, >= 1, <= 65536"
    assert batch["default"] == "32"
    assert batch["in YAML"] == "under data:"
    assert batch["on resume"] == "may change if batch_size × devices × accumulation_steps stays"
    workers = told("num_workers")
    assert workers["while it trains"].startswith("may change")
    assert told("model")["on resume"] == "may not change"
    assert told("recipe")["in YAML"] == "at the top, without a section"
    assert told("optimizer")["values"].startswith("sgd | ")


def test_every_setting_is_in_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    from gputrain.engine.configuration import settings

    main.main(["settings"])
    text_shown = capsys.readouterr().out
    for name in settings.table():
        assert f"\n{name} " in text_shown
