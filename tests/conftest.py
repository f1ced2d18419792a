"""What all tests share: state, cache and configuration folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["skipped_tests", "fakes.nvml.fixtures"]


@pytest.fixture(autouse=True)
def private_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the person's runs, cache or profiles; child processes inherit the same."""
    for variable, name in (("GPUTRAIN_HOME", "state"), ("GPUTRAIN_CACHE", "cache"), ("GPUTRAIN_CONFIG", "config")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for size in ("LINES", "COLUMNS"):  # they would overrule the terminals that tests open, and xdist sets them
        monkeypatch.delenv(size, raising=False)
    return tmp_path
