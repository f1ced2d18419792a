"""Builds image caches ahead of a run, in a child process. Without torch."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.processes.child_job import ProgressCallback, run_job


class BuildOrder(Struct, frozen=True):
    """The child's input."""

    config: RunConfig


class BuiltCaches(Struct, frozen=True, kw_only=True):
    """The child's result."""

    folders: tuple[str, ...]
    images: int
    """Number of cached images."""
    bytes: int
    bad: tuple[str, ...]
    """Path and reason of images that could not be read."""
    notes: tuple[str, ...]
    """How much of the data is cached, as text."""


def build(config: RunConfig, tell: ProgressCallback) -> BuiltCaches:
    """Prepare all training and validation images of a configuration with ``cache: disk``; continues an earlier call.

    Raises BadInput where the data or the settings cannot be used, RuntimeError where the work fails.
    """
    return run_job("gputrain.engine.training.cache.cache_build_child", BuildOrder(config), BuiltCaches, tell)
