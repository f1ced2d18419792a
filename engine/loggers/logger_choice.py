"""Which loggers there are, and whether their packages are installed. Light: nothing of theirs is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs.run_directory import RunDir

NAMES = ("tensorboard", "wandb")
"""Also the names of their packages, and of the extras that install them."""


def chosen(loggers: str) -> tuple[str, ...]:
    """The names in the setting ``loggers``."""
    return () if loggers == "none" else tuple(loggers.split("+"))


def check_name(name: str) -> str:
    """`name` if it is a logger's. Raises BadInput."""
    if name not in NAMES:
        raise BadInput(f"--to must be one of {', '.join(NAMES)}, got '{plain(name, 60)}'{did_you_mean(name, NAMES)}")
    return name


def require(names: Iterable[str]) -> None:
    """Raises BadInput with the remedy if the package of a logger is missing."""
    for name in names:
        try:
            # Not find_spec: a folder of W&B's own files that is called wandb would pass for the package.
            distribution(name)
        except PackageNotFoundError:
            raise BadInput(
                f"loggers: {name} is not installed; install it with: pip install 'gputrain-tui[{name}]' "
                f"(a run can be logged afterwards, too: gputrain-tui log RUN --to {name})"
            ) from None


def default_folder(run: RunDir, name: str) -> Path:
    """Where a logger writes unless told otherwise."""
    return run.directory / name


def command(run: RunDir, name: str, folder: Path) -> list[str]:
    """The command line of the process that logs `run` into `folder`."""
    return [sys.executable, "-P", "-m", "gputrain.engine.loggers", str(run.directory), name, str(folder)]
