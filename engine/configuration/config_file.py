"""Reads and writes config.yaml: all settings of a run, each with its origin as a comment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings, yaml_file
from gputrain.engine.configuration.run_config import RunConfig

_HEAD = "# Settings of a run. `gputrain-tui train --config FILE` launches the same run again.\n"
_COMMENT_COLUMN = 40


def write_config(path: Path, config: RunConfig, origins: Mapping[str, str]) -> None:
    """Write `config` atomically with mode 0600. `origins`: the origin of each value, by setting name.

    Raises OSError and keeps an existing file.
    """
    write_atomic(path, config_text(config, origins).encode())


def config_text(config: RunConfig, origins: Mapping[str, str]) -> str:
    """The file's text: settings grouped by section, each with its origin as a comment."""
    lines = [_HEAD]
    section = settings.RUN_SECTION
    values = settings.flatten(config)
    for setting in settings.table().values():
        if setting.section != section:
            section = setting.section
            lines.append(f"\n{section}:\n")
        indent = "  " if section else ""
        line = f"{indent}{setting.name}: {_scalar(values[setting.name])}"
        if origin := plain(origins.get(setting.name, ""), 120):
            line = f"{line:<{_COMMENT_COLUMN}}  # {origin}"
        lines.append(line + "\n")
    return "".join(lines)


def read_config(path: Path) -> RunConfig:
    """The configuration in a file. Raises BadInput with file, line, key and reason."""
    return read_config_with_notes(path)[0]


def read_config_with_notes(path: Path) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration in a file, and a note for each setting that it calls by an old name. Raises BadInput."""
    document = yaml_file.load(path)
    return settings.build(yaml_file.read_settings(document)), document.renamed()


def _scalar(value: Any) -> str:
    """One value in YAML, on one line."""
    text: str = yaml.safe_dump(value, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").rstrip("\n")
