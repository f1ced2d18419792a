"""The engine of a run (torch, or TensorFlow with Keras), and whether it is installed; imports neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Phase

KERAS = "keras"
INSTALL = "pip install 'gputrain-tui[tensorflow]'"
INSTALL_CUDA = "pip install 'tensorflow[and-cuda]'"
"""Installs TensorFlow with its CUDA libraries."""
_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tf-nightly")
IMPORTS = {"torch": (Phase.IMPORTING, "import torch"), KERAS: (Phase.IMPORTING_TENSORFLOW, "import tensorflow")}
"""The phase during the import of an engine's library, and the key under which its duration is stored."""


def is_keras(values: Mapping[str, Any]) -> bool:
    """Whether the settings select Keras; records of older versions have no such setting."""
    return values.get("engine") == KERAS


def why_missing(engine: str) -> str:
    """Why an engine cannot be used here, with the remedy; empty if its packages are installed."""
    if engine != KERAS or any(map(_is_installed, _DISTRIBUTIONS)):
        return ""
    return f"engine: keras needs TensorFlow, which is not installed: {INSTALL}"


def _is_installed(name: str) -> bool:
    # Imported here, as it takes longer than the rest of this module. Not find_spec: a user's folder named tensorflow
    # would count as the package.
    from importlib.metadata import PackageNotFoundError, distribution

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
    """Raises BadInput if the engine is not torch; `what`: the feature that needs torch."""
    if config.engine != "torch":
        raise BadInput(f"{what} needs engine=torch, but this is engine={config.engine}")
