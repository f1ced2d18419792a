"""Skipped tests: a list of them at the end, with what each lacks; failures where all tests must run, as in CI."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import pytest

NO_SKIPS = "GPUTRAIN_TESTS_NO_SKIPS"
"""Environment variable: if it is 1, a skipped test is a failed one, unless it has the marker ``gpu``."""
SERVICES = "run .ci/install-services"
"""The remedy in the reasons of tests that need a program."""


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    found = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return found.removeprefix("Skipped: ")


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, which {NO_SKIPS}=1 forbids: {_reason(report)}"


def _must_run() -> bool:
    return os.environ.get(NO_SKIPS) == "1"


# Outermost: pytest's own wrapper tells an expected failure from a skip.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped."""
    report = yield
    expected = hasattr(report, "wasxfail") or item.get_closest_marker("gpu") is not None
    if report.skipped and not expected and _must_run():
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that was skipped as a whole."""
    report = yield
    if report.skipped and _must_run():
        _fail(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests of which file were skipped, and what they lack."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("skipped")
    for (file, reason), count in sorted(Counter((one.nodeid.split("::")[0], _reason(one)) for one in skipped).items()):
        terminalreporter.line(f"{count:3} of {file}: {reason}")
    terminalreporter.line("CONTRIBUTING.md says how to have all tests run.")
