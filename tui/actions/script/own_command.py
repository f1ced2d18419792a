"""Starting a command of the user's own as a run: the same for `exec` and for the launcher's form."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import PER_STEP_UNITS, Unit
from gputrain.engine.launching import launch_script
from gputrain.engine.runs.run_directory import RunDir, runs_home
from gputrain.engine.runs.run_labels import MAX_NAME, check_tags
from gputrain.engine.user_script.script_command import ScriptCommand, checked
from gputrain.tui.actions.script.command_line import words

EXAMPLE = "python my_train.py --lr 0.1"
_Result = TypeVar("_Result")
_PER_STEP = re.compile(r"(\d+)\s*([a-z]*)")


class OwnCommand(Struct, frozen=True, kw_only=True):
    """What to start, and how to watch it."""

    argv: tuple[str, ...]
    folder: Path
    """The working directory of the command."""
    name: str = ""
    """Empty: that of the script."""
    tags: tuple[str, ...] = ()
    per_step: int = 0
    """What one update trains on, in `unit`; 0: it is counted where that is possible."""
    unit: Unit = "images"
    autotune: bool = False
    inject: bool = True
    terminal: bool = False
    """The command gets a pseudo-terminal for its output."""
    hang_seconds: float | None = None
    """Seconds without a step of any rank after which they are looked at; None: as the setting's default."""
    given: bool = False
    """The command gets the standard input of this process: a file or a pipe."""

    @property
    def injected(self) -> bool:
        """Whether its Python processes are watched from inside."""
        return self.inject and os.environ.get("GPUTRAIN_EXEC_DISABLE") != "1"


class FieldError(BadInput):
    """A field of the form has an invalid value."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class Typed(Struct, frozen=True, kw_only=True):
    """The fields of the form as typed."""

    command: str = ""
    folder: str = ""
    name: str = ""
    tags: str = ""
    per_step: str = ""
    autotune: bool = False
    inject: bool = True


def prepare(own: OwnCommand) -> ScriptCommand:
    """The command, if it can be started. Raises BadInput."""
    return checked(
        own.argv,
        own.folder,
        terminal=own.terminal,
        inject=own.injected,
        per_step=own.per_step,
        unit=own.unit,
        given=own.given,
    )


def start(own: OwnCommand) -> RunDir:
    """Start it as a new run. Returns once a supervisor owns the run. Raises BadInput or RuntimeError."""
    return launch_script.launch_script(
        prepare(own), own.name, own.tags, autotune=own.autotune, hang_seconds=own.hang_seconds, given=own.given
    )


def read_form(typed: Typed) -> OwnCommand:
    """The command of the form. Raises FieldError for a field that cannot be used."""
    argv = _in_field("command", lambda: words(typed.command))
    if not argv:
        raise FieldError("command", f"type the command, as in a shell: {EXAMPLE}")
    per_step, unit = _per_step(typed.per_step.strip())
    own = OwnCommand(
        argv=tuple(argv),
        folder=_folder(typed.folder.strip()),
        name=typed.name.strip(),
        tags=tuple(typed.tags.split()),
        per_step=per_step,
        unit=unit,
        autotune=typed.autotune,
        inject=typed.inject,
        terminal=True,
    )
    if len(own.name) > MAX_NAME:
        raise FieldError("name", f"has at most {MAX_NAME} characters, got {len(own.name)}")
    _in_field("tags", lambda: check_tags(own.tags))
    _in_field("command", lambda: prepare(own))
    return own


def preview(own: OwnCommand) -> list[tuple[str, str]]:
    """What a start does, as titles and texts."""
    program = shutil.which(own.argv[0]) or own.argv[0]
    named = own.name or launch_script.default_name(own.argv)
    watched = "only the machine and the output: no steps, no data wait, no hints about data"
    if own.injected:
        watched = (
            "from inside: PYTHONPATH brings a module of the standard library into each of its Python processes. "
            "Your files stay as they are, and the output is the same"
        )
    elif own.inject:
        watched += " (GPUTRAIN_EXEC_DISABLE=1 is set)"
    counted = f"{own.per_step} {own.unit} per step, as you say" if own.per_step else ""
    if own.injected and not counted:
        counted = "samples that its DataLoader gives; steps where it reads none"
    tuned = "better DataLoader settings are tried while it runs, where order and samples stay the same"
    found = [
        ("runs", shlex.join((program, *own.argv[1:]))),
        ("folder", str(own.folder)),
        ("watched", watched),
        ("counted", counted),
        ("autotune", tuned if own.autotune else ""),
        ("record", f"{runs_home()}/DATE-TIME-{named}"),
        ("unknown", "memory, speed and time are not known before the start: it is not one of the recipes"),
    ]
    return [(title, plain(text, 1000)) for title, text in found if text]


def _folder(text: str) -> Path:
    try:
        folder = files.expand_user(text or ".").absolute()
        if folder.is_dir():
            return folder
        what = "is not a folder" if folder.exists() else "does not exist"
    except (BadInput, ValueError, OSError) as error:  # ~ of an unknown user, a NUL character, a long name
        raise FieldError("folder", plain(str(error), 200)) from None
    raise FieldError("folder", f"{plain(str(folder), 200)} {what}")


def _per_step(text: str) -> tuple[int, Unit]:
    """``32``, ``32 images``, ``8192 tokens`` as number and unit; empty: 0."""
    if not text:
        return 0, "images"
    found = _PER_STEP.fullmatch(text)
    unit = next((unit for unit in PER_STEP_UNITS if found and unit == (found[2] or "images")), None)
    if found is None or unit is None or len(found[1]) > 12 or not int(found[1]):
        wanted = f"a whole number ≥ 1 and {', '.join(PER_STEP_UNITS[:-1])} or {PER_STEP_UNITS[-1]}"
        raise FieldError("per step", f"must be {wanted}, as in 8192 tokens; got '{plain(text, 40)}'")
    return int(found[1]), unit


def _in_field(field: str, work: Callable[[], _Result]) -> _Result:
    """The result of `work`, with its errors located in `field`."""
    try:
        return work()
    except BadInput as error:
        raise FieldError(field, str(error)) from None
