"""The command of a run that is a script of the user's own: ``command.json`` beside the run's settings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit
from gputrain.engine.runs.run_directory import RunDir


class ScriptCommand(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is started, where and how."""

    argv: tuple[str, ...]
    cwd: str
    terminal: bool = False
    """The script gets a pseudo-terminal for its output; otherwise its output goes to a file."""
    inject: bool = True
    """The probe is injected into its Python processes."""
    per_step: int = 0
    """What one update trains on, in `unit`, as the user says; 0: samples are counted where that is possible."""
    unit: Unit = "images"
    """What `per_step` counts."""
    umask: int = 0o022
    """The umask of the shell that started it: the supervisor's own is stricter."""


def checked(
    argv: Sequence[str], cwd: Path, *, terminal: bool, inject: bool, per_step: int = 0, unit: Unit = "images"
) -> ScriptCommand:
    """The command, if it can be started in `cwd`. Raises BadInput with the place and the remedy."""
    if not argv:
        raise BadInput("exec needs a command after --, as in: gputrain-tui exec -- python my_train.py")
    name = argv[0]
    shown = plain(name, 200)
    # A name with a slash is relative to the folder that the command is started in.
    path = cwd / name
    found = shutil.which(str(path) if os.sep in name else name, path=os.environ.get("PATH"))
    if found is None:
        if os.sep in name and path.is_dir():
            raise BadInput(f"{shown}: is a folder, not a command")
        if os.sep in name and path.exists():
            raise BadInput(f"{shown}: is not executable; run it by its interpreter, as in: exec -- python {shown}")
        if path.exists():
            raise BadInput(f"{shown}: command not found; it is a file here: exec -- python {shown}, or ./{shown}")
        raise BadInput(f"{shown}: command not found")
    if interpreter := _interpreter(Path(found), shown):
        argv = [interpreter, found, *argv[1:]]
    umask = os.umask(0)
    os.umask(umask)
    return ScriptCommand(
        argv=tuple(argv),
        cwd=str(cwd),
        terminal=terminal,
        inject=inject,
        per_step=per_step,
        unit=unit,
        umask=umask,
    )


def _interpreter(path: Path, shown: str) -> str:
    """The shell, for a text without ``#!``, as a shell itself does; empty for all other files.

    Raises BadInput if the interpreter that the file's first line names is not there, as in a moved environment.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(256)
    except OSError:
        return ""  # executable and not readable: a program
    line = begin.partition(b"\n")[0]
    if line.startswith(b"#!"):
        words = os.fsdecode(line[2:]).split()
        if words and Path(words[0]).is_absolute() and not Path(words[0]).exists():
            raise BadInput(f"{shown}: its first line names an interpreter that is not there: {plain(words[0], 200)}")
        return ""
    return "" if b"\0" in begin or begin.startswith(b"\x7fELF") else "/bin/sh"


def write_command(run: RunDir, command: ScriptCommand) -> None:
    """Keep the command in the run's directory. Raises BadInput if it can't be written."""
    try:
        write_atomic(run.command, msgspec.json.encode(command))
    except OSError as error:
        raise BadInput(f"{run.directory}: cannot be written: {error.strerror}") from None


def has_command(run: RunDir) -> bool:
    """Whether the run is a script of the user's own."""
    return run.command.exists()


def read_command(run: RunDir) -> ScriptCommand:
    """The command of a run. Raises BadInput where there is none that can be read."""
    path = run.command
    try:
        return msgspec.json.decode(path.read_bytes(), type=ScriptCommand)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadInput(f"{path}: {plain(str(error), 200)}") from None
