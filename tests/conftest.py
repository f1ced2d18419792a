"""Fixtures of all tests: each test has its own state, cache and configuration folders."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

# A deadline for each example would test the machine's load. Slow generation is no fault either.
hypothesis.settings.register_profile("gputrain", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("gputrain")

# Under nohup all child processes would ignore SIGHUP. A handler, unlike that, ends with exec; and pytest goes on.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

pytest_plugins = ["skipped_tests", "fakes.nvml.fixtures"]


@pytest.fixture(autouse=True)
def private_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests and their child processes do not use the user's runs, cache or profiles."""
    for variable, name in (("GPUTRAIN_HOME", "state"), ("GPUTRAIN_CACHE", "cache"), ("GPUTRAIN_CONFIG", "config")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for size in ("LINES", "COLUMNS"):  # set by xdist; they override the size of the terminals that tests open
        monkeypatch.delenv(size, raising=False)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups first: with several workers a long one that began last would keep the others waiting."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
