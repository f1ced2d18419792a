"""The version of gputrain-tui, as its package metadata has it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("gputrain-tui")
except PackageNotFoundError:
    # Run from a source tree that was never installed.
    VERSION = "unknown"
