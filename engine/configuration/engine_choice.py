"""Which engine trains a run: torch, or TensorFlow with Keras. Light: neither is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events import Phase

KERAS = "keras"
INSTALL = "pip install 'gputrain-tui[tensorflow]'"
INSTALL_CUDA = "pip install 'tensorflow[and-cuda]'"
"""What brings TensorFlow's own CUDA libraries."""
_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tf-nightly")
IMPORTS = {"torch": (Phase.IMPORTING, "import torch"), KERAS: (Phase.IMPORTING_TENSORFLOW, "import tensorflow")}
"""What is told while an engine's library is imported, and the key by which the duration is kept."""


def is_keras(values: Mapping[str, Any]) -> bool:
    """Whether flat settings by name ask for Keras; records of older versions have no such setting."""
    return values.get("engine") == KERAS


def why_missing(engine: str) -> str:
    """Why an engine cannot be used here, with the remedy; empty if its packages are installed."""
    if engine != KERAS or any(map(_is_installed, _DISTRIBUTIONS)):
        return ""
    return f"engine: keras needs TensorFlow, which is not installed: {INSTALL}"


def _is_installed(name: str) -> bool:
    # Not find_spec: a folder of the person's that is called tensorflow would pass for the package.
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def require(config: RunConfig) -> None:
    """Raises BadInput with the remedy if the engine's package is missing."""
    if missing := why_missing(config.engine):
        raise BadInput(missing)


def require_torch_engine(config: RunConfig, what: str) -> None:
    """Raises BadInput where a run is not of torch; `what` only knows torch."""
    if config.engine != "torch":
        raise BadInput(f"{what} is there for engine=torch alone, and this is engine={config.engine}")
