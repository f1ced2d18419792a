"""Starting a script of the user's own as a run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gputrain.engine.alerts.alert_settings import read_alert_settings
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.launching import launch
from gputrain.engine.launching.launch import PlanRecord
from gputrain.engine.runs import process_identity, run_directory
from gputrain.engine.runs.run_directory import RunDir, State
from gputrain.engine.runs.run_labels import check_tags, write_marks
from gputrain.engine.user_script.script_command import ScriptCommand, read_command, write_command

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def launch_script(
    command: ScriptCommand,
    name: str = "",
    tags: Sequence[str] = (),
    *,
    autotune: bool = False,
    hang_seconds: float | None = None,
    given: bool = False,
) -> RunDir:
    """Start `command` as a new run. Returns once its supervisor owns it.

    `autotune`: the supervisor tries advice by itself that leaves order and samples as they are. `hang_seconds`: without
    a step of any rank for so long they are looked at; None: as the setting's default. `given`: the command gets the
    standard input of this process, if it is one that reads some.

    Raises BadInput for an invalid name or tag, a wrong ``alerts.yaml``, or if the run directory can't be written;
    RuntimeError if the supervisor does not come up.
    """
    check_tags(tags)
    read_alert_settings()  # as `launch.launch` does
    name = name or default_name(command.argv)
    values: dict[str, Any] = {"name": name, "recipe": "script", "autotune": autotune}
    config = settings.build(values if hang_seconds is None else {**values, "hang_seconds": hang_seconds})
    run = run_directory.create(name)
    launch.write_settings(run, config, PlanRecord())
    write_command(run, command)
    if tags:
        write_marks(run, add=tags)
    _start(run, given=given and command.given)
    return run


def _start(run: RunDir, *, given: bool) -> None:
    launch.start(run, environment=dict(os.environ), given=given)


def start_again(run: RunDir, *, given: bool = False) -> None:
    """Start the command of a run that is over once more, in the same run and record. `given`: as in `launch_script`.

    Raises BadInput if the run or its command is going on or its folder is gone, RuntimeError if the supervisor does not
    come up.
    """
    command = read_command(run)
    if run.is_live():
        raise BadInput(f"{run.id} is running; watch it with: gputrain-tui tail {run.id}")
    if left := _left_running(run):
        raise BadInput(
            f"{run.id}: its supervisor was killed, and its command goes on (pid {left}); "
            f"end it before it is started again: kill {left}"
        )
    if not Path(command.cwd).is_dir():
        raise BadInput(f"{command.cwd}: the folder that {run.id} was started in is gone")
    _start(run, given=given and command.given)


def _left_running(run: RunDir) -> int | None:
    """A process of the command that outlived its supervisor, which was killed; None without one."""
    if (status := run.status()) is None or status.state is not State.DIED:
        return None
    command = process_identity.read_identity(run.trainer_lock)
    return next(iter(process_identity.session_of(command)), None) if command is not None else None


def clone(run: RunDir, *, given: bool = False) -> RunDir:
    """Start the command of `run` as a new run with the same name, `autotune` and `hang_seconds`. Raises as
    `launch_script` does.
    """
    values = settings.flatten(read_config(run.config))
    autotune, hang_seconds = values["autotune"], values["hang_seconds"]
    return launch_script(read_command(run), values["name"], autotune=autotune, hang_seconds=hang_seconds, given=given)


def default_name(argv: Sequence[str]) -> str:
    """The name of the script in a command: ``my_train`` of ``python -u my_train.py --lr 0.1``."""
    words = [word for word in argv if not word.startswith("-")]
    script = next((word for word in words if word.endswith((".py", ".sh"))), None)
    after_m = next((argv[at + 1] for at, word in enumerate(argv[:-1]) if word == "-m"), None)
    chosen = Path(script).stem if script else after_m or Path(words[0] if words else "script").name
    return _UNSAFE.sub("-", chosen).strip("-.")[:40] or "script"
