"""The command of a run that is a script of the user's own: ``command.json`` beside the run's settings."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import Unit
from gputrain.engine.runs.run_directory import RunDir

_SUBSTITUTION = re.compile(r"(^|=)/(dev/fd|proc/self/fd)/([3-9]|\d\d+)$")


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
    given: bool = False
    """It was started with a file or a pipe as its standard input."""
    as_bytes: bool = False
    """In ``command.json``: each character of `argv` and `cwd` stands for a byte, as they are not UTF-8."""


def checked(
    argv: Sequence[str],
    cwd: Path,
    *,
    terminal: bool,
    inject: bool,
    per_step: int = 0,
    unit: Unit = "images",
    given: bool = False,
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
    _refuse_substitution(argv)
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
        given=given,
    )


def is_input_given() -> bool:
    """Whether this process' standard input is a file, a pipe or a socket: neither a terminal nor ``/dev/null``."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _refuse_substitution(argv: Sequence[str]) -> None:
    """Raises BadInput for a descriptor of the shell, which is closed for a run that goes on without it."""
    if found := next((word for word in argv if _SUBSTITUTION.search(word)), None):
        raise BadInput(
            f"{plain(found, 200)}: a process substitution, <(…) or >(…), cannot be handed on; "
            "use a file, or a shell around all of it: exec -- bash -c '…'"
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
        encoded = msgspec.json.encode(command)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_respelled(command, lambda word: os.fsencode(word).decode("latin-1"), True))
    try:
        write_atomic(run.command, encoded)
    except OSError as error:
        raise BadInput(f"{run.directory}: cannot be written: {error.strerror}") from None


def _respelled(command: ScriptCommand, spell: Callable[[str], str], as_bytes: bool) -> ScriptCommand:
    argv, cwd = tuple(map(spell, command.argv)), spell(command.cwd)
    return msgspec.structs.replace(command, argv=argv, cwd=cwd, as_bytes=as_bytes)


def has_command(run: RunDir) -> bool:
    """Whether the run is a script of the user's own."""
    return run.command.exists()


def read_command(run: RunDir) -> ScriptCommand:
    """The command of a run. Raises BadInput where there is none that can be read."""
    path = run.command
    try:
        found = msgspec.json.decode(path.read_bytes(), type=ScriptCommand)
        return _respelled(found, lambda word: os.fsdecode(word.encode("latin-1")), False) if found.as_bytes else found
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadInput(f"{path}: {plain(str(error), 200)}") from None
