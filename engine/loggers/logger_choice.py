"""The available loggers, and whether their packages are installed; imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs.run_directory import RunDir

NAMES = ("tensorboard", "wandb", "mlflow", "trackio")
"""Also the names of the pip extras."""
_PACKAGES = {"mlflow": "mlflow-skinny"}
"""The packages of those that have another name; the whole mlflow contains mlflow-skinny."""


def chosen(loggers: str) -> tuple[str, ...]:
    """The names in the setting ``loggers``."""
    return () if loggers == "none" else tuple(loggers.split("+"))


def check_name(name: str) -> str:
    """`name`, if a logger has it. Raises BadInput."""
    if name not in NAMES:
        raise BadInput(f"--to must be one of {', '.join(NAMES)}, got '{plain(name, 60)}'{did_you_mean(name, NAMES)}")
    return name


def require(names: Iterable[str]) -> None:
    """Raises BadInput with the remedy if a logger's package is missing."""
    for name in names:
        from importlib.metadata import PackageNotFoundError, distribution  # most runs have no logger

        try:
            # Not find_spec: W&B's output folder is named wandb and would count as the package.
            distribution(_PACKAGES.get(name, name))
        except PackageNotFoundError:
            raise BadInput(
                f"loggers: {name} is not installed; install it with: pip install 'gputrain-tui[{name}]' "
                f"(a run can be logged afterwards, too: gputrain-tui log RUN --to {name})"
            ) from None


def default_folder(run: RunDir, name: str) -> Path:
    """The default output folder of a logger."""
    return run.directory / name


def command(run: RunDir, name: str, folder: Path) -> list[str]:
    """The command of the process that logs `run` into `folder`."""
    return [sys.executable, "-P", "-m", "gputrain.engine.loggers", str(run.directory), name, str(folder)]
