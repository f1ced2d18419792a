"""The supervisor of a run that is a script of the user's own."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Notice, Outcome, Phase, PhaseChanged, RunEnded, RunStarted
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision.child_process import ChildProcess
from gputrain.engine.supervision.startup_events import run_started
from gputrain.engine.supervision.supervisor import Supervisor
from gputrain.engine.user_script.script_command import ScriptCommand, is_input_given, read_command
from gputrain.engine.user_script.script_process import ScriptProcess

ENGINE = "script"
"""Value of `engine` in the settings that such a run's record has."""


def script_supervisor(run: RunDir, config: RunConfig) -> Supervisor:
    """A supervisor that starts the run's command. Raises BadInput if the command can't be read."""
    command = read_command(run)
    # The watchdog asks for stacks by a signal that would end a script which does not expect it; `HangWatch` does not.
    quiet = settings.replace(config, hang_seconds=0.0, auto_resume=False)

    def start(_config: RunConfig, on_event: Callable[[bytes], None]) -> ChildProcess:
        return ScriptProcess(run, command, on_event, config.monitor.hang_seconds)

    return Supervisor(
        run,
        quiet,
        start_child=start,
        exit_reason=script_exit_reason,
        first_events=lambda machine: first_events(run, quiet, command, machine),
    )


def first_events(
    run: RunDir, config: RunConfig, command: ScriptCommand, machine: Machine
) -> Iterator[RunStarted | Notice | PhaseChanged]:
    """What runs, on what; the settings of a training of ours mean nothing here."""
    yield run_started(
        run,
        machine,
        {
            "engine": ENGINE,
            "recipe": "script",
            "name": config.name,
            "command": plain(shlex.join(command.argv), 1000),
            "folder": plain(command.cwd, 500),
        },
    )
    if not command.inject:
        text = "--no-inject: only the machine and the output are watched, no steps"
        yield Notice(level="info", text=text, source="supervisor")
    if command.given and not is_input_given():
        text = "the command began with a file or a pipe as its input; started again, it reads nothing"
        yield Notice(level="warning", text=text, source="supervisor")
    yield PhaseChanged(phase=Phase.STARTING)


def script_exit_reason(
    reported: RunEnded | None, exit_code: int | None, *, stop_now: bool, oom_killed: bool, step: int
) -> RunEnded:
    """How a command ended. Its exit code is passed on as a shell would report it: 128 and the signal's number."""
    if exit_code is None:
        # What a shell returns for a file that can't be executed.
        reason = (
            reported.reason.replace("the trainer", "the command", 1) if reported else "the command cannot be started"
        )
        error = reported.error if reported else ""
        return RunEnded(outcome=Outcome.FAILED, reason=reason, error=error, step=step, own_code=126)
    if reported is not None:
        return reported
    if stop_now and exit_code >= 0:
        by = f", by {_signal_name(exit_code - 128)}" if exit_code else ": the command ended with code 0"
        return RunEnded(
            outcome=Outcome.STOPPED,
            reason=f"stopped on request{by}",
            exit_code=exit_code,
            step=step,
            own_code=exit_code,
        )
    if exit_code == 0:
        return RunEnded(outcome=Outcome.FINISHED, reason="the command finished", exit_code=0, step=step, own_code=0)
    if exit_code > 0:
        reason = f"the command exited with code {exit_code}; the last lines of its output say more"
        return RunEnded(outcome=Outcome.FAILED, reason=reason, exit_code=exit_code, step=step, own_code=exit_code)
    number = -exit_code
    outcome, reason = Outcome.KILLED, f"the command was ended by {_signal_name(number)}"
    if stop_now:
        outcome, reason = Outcome.STOPPED, f"stopped on request, by {_signal_name(number)}"
    elif number == signal.SIGKILL and oom_killed:
        reason = "the kernel's OOM killer ended the command: the machine or its cgroup ran out of RAM"
    return RunEnded(
        outcome=outcome,
        reason=reason,
        exit_code=exit_code,
        signal=number,
        step=step,
        died_of="ram" if number == signal.SIGKILL and oom_killed and not stop_now else "",
        own_code=128 + number,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
