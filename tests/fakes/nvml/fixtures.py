"""Fixtures for tests anywhere below tests/."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.nvml import NvmlStandIn, build, compiler
from skipped_tests import SERVICES


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in library, compiled once."""
    if compiler() is None:
        pytest.skip(f"no C compiler, for the stand-in for NVML: {SERVICES}")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml_stand_in(nvml_library: Path, tmp_path: Path) -> NvmlStandIn:
    """A script of its own for one test: ``env=os.environ | nvml_stand_in.env`` in the child, then ``set``."""
    return NvmlStandIn(nvml_library, tmp_path / "nvml-script")
