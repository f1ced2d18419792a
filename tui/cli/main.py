"""Entry point of ``gputrain-tui``: the argument parser, and the module that runs each command.

Each command imports Textual, the profiles and the engine only if it needs them, so that ``--help`` and usage errors
appear at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence

from gputrain.engine.common.errors import EXIT_BAD_INPUT, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.processes import scheduler_signals
from gputrain.tui.cli.plan_arguments import add_catalog_commands, add_plan_commands
from gputrain.tui.cli.run_arguments import add_run_commands
from gputrain.tui.cli.view_arguments import add_view_commands
from gputrain.tui.render import charset
from gputrain.tui.terminal import lean_imports

_EPILOG = """\
Without a terminal, commands print plain lines. --json prints JSON lines.

exit codes:
  0   finished
  1   failed
  2   bad input: nothing was started
  3   stopped on request before the last step
  4   killed from outside
  5   the screen closed because of an error; the run continues
  75  stopped by the scheduler after a checkpoint: resume it

first steps:
  gputrain-tui                        choose a profile and a recipe, see the plan, start
  gputrain-tui train --recipe demo    train on generated images: needs no GPU and no data
  gputrain-tui tail last              watch the newest run again, from any terminal
  gputrain-tui monitor                monitor this machine without a run
"""


_LAUNCH = ("train", "resume", "clone", "check", "calibrate", "bench", "cache", "pack")
"""Commands that batch jobs run: a preemption signal before a run has started ends them with `EXIT_PREEMPTED`."""
_WATCHING = ("monitor", "tail")
"""Commands whose process may live as long as a run, and needs no TLS."""
_RUNS = ("runs", "mark", "delete", "prune", "compare", "diagnose", "stop", "tail", "log", "export", "predict")
_MODULES: dict[str | None, str] = {
    None: "launch.launcher",
    "exec": "launch.exec_script",
    "profiles": "launch.lists",
    "recipes": "launch.lists",
    "settings": "launch.lists",
    "alerts": "alerts",
    "completions": "completions",
    "monitor": "monitor",
    "serve": "serve",
    "stacks": "inspection.stacks",
    "profile": "inspection.profile",
    **{name: f"launch.{name}" for name in _LAUNCH},
    **{name: f"runs.{name}" for name in _RUNS},
}
"""The module under `gputrain.tui.commands` that runs each command."""


def parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    top = argparse.ArgumentParser(
        prog="gputrain-tui",
        description="Launch an optimized PyTorch training run and see live what the machine does with it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    add_plan_commands(commands)
    add_run_commands(commands)
    add_view_commands(commands)
    add_catalog_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if set(_LAUNCH).isdisjoint(words[:1]):
        return _run(words)
    with scheduler_signals.exit_when_preempted():
        return _run(words)


def _run(arguments: Sequence[str]) -> int:
    charset.prepare_output()
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        from gputrain.tui.cli import shell_completion  # only when the shell's tab key asks

        shell_completion.complete(top)
    # argparse takes positional arguments in one place only; settings may stand between options.
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, script = _after_dashes(words)
    options, rest = top.parse_known_args(words)
    if options.command == "exec":
        options.argv = script
        if rest and not script and not rest[0].startswith("-"):
            top.error(f"put -- before the command: gputrain-tui exec -- {plain(shlex.join(rest), 200)}")
    elif script:
        rest += script
    if "overrides" in options:
        options.overrides += [argument for argument in rest if not argument.startswith("-")]
        rest = [argument for argument in rest if argument.startswith("-")]
    if rest:
        top.error(f"unrecognized arguments: {plain(' '.join(rest), 200)}")
    if getattr(options, "json", False):
        charset.print_exactly()
    try:
        return _dispatch(options)
    except BadInput as error:
        print(f"gputrain-tui: {plain(str(error), 1000)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        # End by the signal itself, without a traceback: a loop of the shell around this command ends, too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of the pipe (such as head) exited. Python would report that again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _after_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of ``exec`` before its ``--``, and the command after it."""
    if words[:1] != ["exec"] or "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _dispatch(options: argparse.Namespace) -> int:
    if options.version:
        from gputrain.engine.common.version import VERSION

        print(f"gputrain-tui {VERSION}")
        return 0
    if options.command in _WATCHING:
        lean_imports.without_openssl()
    module = importlib.import_module(f"gputrain.tui.commands.{_MODULES[options.command]}")
    code: int = module.run(options)
    return code
