"""Options of ``exec`` from a YAML file: a command and how it is watched."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import PER_STEP_UNITS, Unit
from gputrain.engine.configuration import yaml_file
from gputrain.engine.configuration.yaml_file import Document

_MOST_SECONDS = 1e9


class ExecFile(Struct, frozen=True, kw_only=True):
    """What a file says; each field has the name of its key."""

    command: tuple[str, ...] = ()
    name: str = ""
    tags: tuple[str, ...] = ()
    images_per_step: int = 0
    samples_per_step: int = 0
    tokens_per_step: int = 0
    no_inject: bool = False
    autotune: bool = False
    pty: bool = False
    hang_seconds: float | None = None


def per_step(*sources: object) -> tuple[int, Unit]:
    """What one update trains on, and its unit, from the first of `sources` that says so; 0: none does.

    Each source has ``images_per_step`` and its siblings: the options of the command line, an `ExecFile`.
    """
    for source in sources:
        for unit in PER_STEP_UNITS:
            if count := getattr(source, f"{unit}_per_step"):
                return count, unit
    return 0, "images"


def read(path: Path) -> ExecFile:
    """Read and check a file. Raises BadInput with file and line."""
    document = yaml_file.load(path)
    known = ExecFile.__struct_fields__
    found: dict[str, Any] = {}
    for key, value in document.values.items():
        try:
            if key not in known:
                raise BadInput(f"unknown key {plain(key, 60)}; known: {', '.join(known)}")
            found[key] = _value(document, key, value)
        except BadInput as error:
            raise BadInput(f"{document.place(key)}: {error}") from None
    return ExecFile(**found)


def _value(document: Document, key: str, value: Any) -> Any:
    match key:
        case "command":
            return _command(value)
        case "name":
            text = document.texts.get(key, "")
            if not text or text != plain(text, 200):
                raise BadInput("name must be a word, such as baseline")
            return text
        case "tags":
            return _words(key, [value] if isinstance(value, str) else value)
        case "images_per_step" | "samples_per_step" | "tokens_per_step":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{key} must be a whole number >= 1, got {plain(str(value), 60)}")
        case "hang_seconds":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_SECONDS:
                raise BadInput(f"{key} must be a number of seconds >= 0, got {plain(str(value), 60)}")
        case _ if not isinstance(value, bool):
            raise BadInput(f"{key} must be true or false, got {plain(str(value), 60)}")
    return value


def _command(value: Any) -> tuple[str, ...]:
    """The words of a command, which no shell reads: quotes group words, and nothing is expanded."""
    if not isinstance(value, str):
        return _words("command", value)
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise BadInput(f"command: {str(error).lower()}") from None
    if not words:
        raise BadInput("command must not be empty")
    return words


def _words(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise BadInput(f"{key} must be a text or a list of words")
    for one in value:
        if not isinstance(one, str) or "\0" in one:
            raise BadInput(f"{key}: put {plain(str(one), 60)} in quotes: each word must be a text")
    return tuple(value)
