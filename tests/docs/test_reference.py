"""The reference pages are those that the code gives now, and the hand-written ones leave nothing out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.docs import DOCS, generate_reference

from gputrain.engine import events
from gputrain.engine.configuration import keras_compatibility
from gputrain.engine.runs import run_directory
from gputrain.tui.layout.key_bindings import KEYS
from gputrain.tui.metrics.metric_lookup import METRICS


@pytest.mark.parametrize("name", generate_reference.PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / "reference" / name).read_text()
    assert written == generate_reference.PAGES[name](), "stale: run python docs/generate_reference.py"


def test_a_stale_page_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_reference, "FOLDER", tmp_path)
    for name, make in generate_reference.PAGES.items():
        (tmp_path / name).write_text(make())
    assert generate_reference.stale() == []
    page = tmp_path / "settings.md"
    page.write_text(page.read_text().replace("batch_size", "batchsize"))
    (tmp_path / "events.md").unlink()
    assert generate_reference.stale() == ["settings.md", "events.md"]


def test_check_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate_reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_event_and_field_has_its_place() -> None:
    page = (DOCS / "reference" / "events.md").read_text()
    steps = page.partition("\n## steps\n")[2].partition("\n## ")[0]
    assert "| `data_wait` | number | Seconds" in steps
    assert [line for line in steps.splitlines() if line.startswith("| `")] != []
    for tag in ("run_started", "phase", "steps", "hardware", "hints", "tuned", "run_ended"):
        assert f"\n## {tag}\n" in page
    assert f'"v":{events.FORMAT_VERSION}' in page
    assert [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")] == []


def test_every_file_of_a_run_is_explained() -> None:
    page = (DOCS / "reference" / "files.md").read_text()
    assert [name for name in sorted(run_directory.FILES) if f"`{name}" not in page] == []


def test_every_screen_has_its_keys() -> None:
    page = (DOCS / "reference" / "keys.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Dashboard",
        "## Monitor",
        "## Launcher",
        "## List of runs",
    ]
    assert all(f"| `{key.shown}` | {key.label} |" in page for key in KEYS)


def test_every_value_on_the_screen_is_explained() -> None:
    page = (DOCS / "reference" / "metrics.md").read_text()
    assert [metric.title for metric in METRICS.values() if f"| {metric.title}" not in page] == []


def test_every_setting_without_a_counterpart_in_keras_is_named() -> None:
    page = (DOCS / "guide" / "keras.md").read_text()
    names = [*keras_compatibility.REPLACED, *keras_compatibility._OFF]
    assert [name for name in names if f"`{name}`" not in page] == []
