"""Environments of other versions of Python and torch, which ``.ci/version-environments`` makes."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / ".versions"


def with_torch() -> list[Path]:
    """Interpreters of environments that have a torch of another version."""
    return sorted(FOLDER.glob("torch-*/bin/python"))


def without_torch() -> list[Path]:
    """Interpreters with the standard library only, from 2.7 on."""
    return sorted(FOLDER.glob("interpreters/python*"))


def name_of(python: Path) -> str:
    """For the names of tests."""
    return python.name if python.parent.name == "interpreters" else python.parents[1].name


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Without the paths of our own environment: a script of another one must not find our modules."""
    inject = environment.get("PYTHONPATH", "").split(os.pathsep)[0]
    kept = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": inject} if "GPUTRAIN_EXEC_PAGES" in environment else kept
