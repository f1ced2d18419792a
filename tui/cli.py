"""The command ``gputrain-tui``: its arguments, and which module serves each command.

Textual, the profiles and the engine are imported by the command that needs them, so that ``--help``
and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from gputrain.engine.errors import EXIT_BAD_INPUT, BadInput
from gputrain.engine.text import plain
from gputrain.tui.argumenttypes import count
from gputrain.tui.viewcommands import add_low_bandwidth, add_view_commands

_EPILOG = """\
commands without a terminal print plain lines; --json prints JSON lines.

exit codes: 0 finished · 1 failed · 2 bad input · 3 stopped before the end · 4 killed from outside
            75 made to go by a batch system: resume it

first steps:
  gputrain-tui                              choose a profile and a recipe, see the cost, start
  gputrain-tui train --recipe demo          train on built-in images, no GPU and no data needed
  gputrain-tui tail last                    come back to the newest run, from any terminal
  gputrain-tui monitor                      this machine without a run
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="gputrain-tui",
        description="Launch an optimized PyTorch training run and see live what the machine does with it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_train(commands)
    _add_check(commands)
    _add_calibrate(commands)
    _add_bench(commands)
    _add_runs(commands)
    _add_keeping(commands)
    _add_compare(commands)
    _add_cache(commands)
    _add_tail(commands)
    _add_resume(commands)
    _add_stop(commands)
    _add_diagnose(commands)
    _add_log(commands)
    add_view_commands(commands)
    _add_lists(commands)
    return top


_RUN = "a run's name, part of it, its directory, or: last"


if TYPE_CHECKING:
    # The class is generic in the stubs alone.
    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def _add_train(commands: _Commands) -> None:
    train = commands.add_parser("train", help="start a run and watch it", description="Start a run and watch it.")
    _add_choice(train)
    train.add_argument("--dry-run", action="store_true", help="show the plan and leave")
    train.add_argument("--force", action="store_true", help="start although the plan says that memory will not suffice")
    train.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    _add_output(train)


def _add_choice(command: argparse.ArgumentParser) -> None:
    """What to run, on what, with which settings."""
    command.add_argument("--recipe", help="what to train (see: gputrain-tui recipes); default: demo")
    command.add_argument("--profile", help="hardware profile; default: the best for this machine")
    command.add_argument("--preset", help="conservative, balanced or aggressive; default: the profile's own")
    command.add_argument("--data", metavar="DIR", help="folder with the data, instead of the recipe's")
    command.add_argument("--config", metavar="FILE", help="the settings of this config.yaml, as a run wrote it")
    command.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="any setting (see: gputrain-tui settings): batch_size=64"
    )


def _add_check(commands: _Commands) -> None:
    check = commands.add_parser(
        "check",
        help="whether a run would work here, and what would hold it back",
        description="Look at driver, torch, GPUs, CPU, memory, disk and limits, and test the speed (some seconds). "
        "Nothing is changed: advice is shown as commands.",
        epilog="exit codes: 0 a run would work · 1 it would not, and the lines marked problem say why",
    )
    _add_choice(check)
    check.add_argument("--no-speed", action="store_true", help="leave out the speed test, which imports torch")
    check.add_argument("--json", action="store_true", help="everything as one JSON object")


def _add_calibrate(commands: _Commands) -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="measure a recipe here, so that plans can foretell its speed",
        description="Measure the workers, the step, both together and the memory at two batch sizes on this machine. "
        "The result is kept; plans of the recipe then tell images per second, what limits them, times, and the "
        "largest batch that fits.",
    )
    _add_choice(calibrate)
    calibrate.add_argument(
        "--seconds", type=_measuring_seconds, default=40.0, metavar="S", help="how long (5 to 600; default 40)"
    )
    calibrate.add_argument("--json", action="store_true", help="the measurements as one JSON object")


def _add_bench(commands: _Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="how much faster the optimized settings are here than standard ones",
        description="Train a recipe for some steps with standard settings (float32, no workers, no tuning) and with "
        "the plan's, and compare images per second, GPU utilization and peak memory. Nothing is kept.",
    )
    _add_choice(bench)
    bench.add_argument("--ladder", action="store_true", help="also each optimization on top of those before it")
    bench.add_argument("--steps", type=count, default=40, metavar="N", help="steps after the warm-up (40)")
    bench.add_argument("--markdown", metavar="FILE", help="write the table there too, as Markdown")
    bench.add_argument("--json", action="store_true", help="the result as one JSON object")


def _add_runs(commands: _Commands) -> None:
    runs = commands.add_parser("runs", help="list runs, the newest first", description="List runs, the newest first.")
    runs.add_argument("host", nargs="?", metavar="HOST:", help="the runs on another machine, through ssh")
    runs.add_argument("--state", help="only runs in this state (running, finished, failed …)")
    runs.add_argument("--find", metavar="WORDS", help="only runs with these words in id, name, tags, note or recipe")
    runs.add_argument("--tag", action="append", default=[], help="only runs with this tag (several: with all of them)")
    runs.add_argument(
        "--sort", default="newest", metavar="KEY", help="newest, name, state, recipe, steps, speed, best, took"
    )
    runs.add_argument("-n", "--lines", type=count, metavar="N", help="at most N runs")
    runs.add_argument("--screen", action="store_true", help="a screen to look through them and act on them")
    runs.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_compare(commands: _Commands) -> None:
    what = "show runs beside each other"
    about = "settings that differ, figures, what held each back, and a curve"
    compare = commands.add_parser("compare", help=what, description=f"{what.capitalize()}: {about}.")
    compare.add_argument("run", metavar="RUN", nargs="+", help=_RUN)
    compare.add_argument("--metric", default="loss", help="the curve: loss (default), val_accuracy, val_loss …")
    compare.add_argument(
        "--over", default="step", choices=("step", "seconds", "images"), help="along what; default: step"
    )
    compare.add_argument("--json", action="store_true", help="one JSON object, with all curves")


def _add_cache(commands: _Commands) -> None:
    what = "build, list or clear caches of prepared images"
    cache = commands.add_parser("cache", help=what, description=f"{what.capitalize()}.")
    parts = cache.add_subparsers(dest="what", metavar="build|list|clear", required=True)
    build = parts.add_parser(
        "build", help="prepare a recipe's images ahead", description="Prepare a recipe's images ahead."
    )
    _add_choice(build)
    build.add_argument("--json", action="store_true", help="the result as one JSON object")
    lister = parts.add_parser("list", help="list the caches on disk", description="List the caches on disk.")
    lister.add_argument("--json", action="store_true", help="one JSON object a line")
    clear = parts.add_parser("clear", help="remove caches", description="Remove caches; never one that a run has open.")
    clear.add_argument("cache", metavar="CACHE", nargs="*", help="a cache's id, or its beginning")
    clear.add_argument("--all", action="store_true", help="all that no run has open")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def _add_keeping(commands: _Commands) -> None:
    mark = commands.add_parser(
        "mark", help="give a run a name, tags or a note", description="Give a run a name, tags or a note."
    )
    mark.add_argument("run", metavar="RUN", help=_RUN)
    mark.add_argument("--name", help="a name, by which it can be found from now on; empty: none")
    mark.add_argument("--tag", action="append", default=[], help="add a tag; prune leaves runs tagged keep alone")
    mark.add_argument("--untag", action="append", default=[], metavar="TAG", help="take a tag away")
    mark.add_argument("--note", help="a sentence about it; empty: none")
    what = "start a new run with another one's settings"
    clone = commands.add_parser("clone", help=what, description=f"{what.capitalize()}, some of them changed.")
    clone.add_argument("run", metavar="RUN", help=_RUN)
    clone.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    _add_output(clone)
    clone.add_argument("overrides", nargs="*", metavar="setting=value", help="settings that are to be others")
    delete = commands.add_parser(
        "delete",
        help="remove runs with all their files",
        description="Remove runs with all their files; never live ones.",
    )
    delete.add_argument("run", metavar="RUN", nargs="+", help=_RUN)
    prune = commands.add_parser(
        "prune",
        help="remove runs that are old or take too much room",
        description="Remove runs that are old or take too much room; never live ones, nor those tagged keep.",
    )
    prune.add_argument("--older", metavar="AGE", help="runs that ended longer ago: 30d, 12h, 2w")
    prune.add_argument("--total", metavar="SIZE", help="the oldest runs beyond this size of all: 50G, 500M")
    prune.add_argument("--keep", type=count, metavar="N", help="leave the newest N alone")
    prune.add_argument("--dry-run", action="store_true", help="show what would go")
    for command in (delete, prune):
        command.add_argument("--yes", action="store_true", help="do not ask")


def _add_tail(commands: _Commands) -> None:
    tail = commands.add_parser(
        "tail",
        help="watch a run, live or over",
        description="Watch a run from its first event on, live or over. The run does not notice.",
    )
    tail.add_argument(
        "run",
        metavar="RUN",
        help="a run's name, part of it, its directory, or: last; HOST:RUN is one on another machine, through ssh",
    )
    tail.add_argument("-n", "--lines", type=count, metavar="N", help="begin with the last N lines (plain and JSON)")
    tail.add_argument("--no-follow", action="store_true", help="print what there is and leave")
    _add_output(tail)


def _add_resume(commands: _Commands) -> None:
    resume = commands.add_parser(
        "resume",
        help="go on where a run stopped",
        description=(
            "Go on where a run stopped: from its last checkpoint in its own record, from an earlier one as a new run."
        ),
    )
    resume.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, or: last")
    resume.add_argument(
        "--from", dest="wanted", default="last", metavar="WHERE", help="last (default), best, or a checkpoint's step"
    )
    resume.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    _add_output(resume)
    resume.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="settings that may change on the way: num_workers=8"
    )


def _add_stop(commands: _Commands) -> None:
    stop = commands.add_parser(
        "stop", help="end a run, after a checkpoint", description="End a run after a checkpoint, and wait until it has."
    )
    stop.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, or: last")
    stop.add_argument("--now", action="store_true", help="at once, without a checkpoint")
    stop.add_argument("--no-wait", action="store_true", help="ask, and do not wait until it has ended")


def _add_log(commands: _Commands) -> None:
    log = commands.add_parser(
        "log",
        help="write a run to TensorBoard or W&B",
        description="Write a run to TensorBoard or W&B, from its first event on; a live one until it ends.",
    )
    log.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, or: last")
    log.add_argument("--to", required=True, metavar="LOGGER", help="tensorboard or wandb")
    log.add_argument("--dir", metavar="DIR", help="folder for the files; default: one in the run directory")
    log.add_argument("--json", action="store_true", help="JSON lines: the progress, then where the result is")


def _add_diagnose(commands: _Commands) -> None:
    diagnose = commands.add_parser(
        "diagnose",
        help="say what holds a run back, and what to change",
        description="Say what holds a run back, running or over: the cause, its evidence, what to change, the rate to "
        "expect of that, and what would show that it is something else.",
    )
    diagnose.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, HOST:RUN, or: last")
    diagnose.add_argument("--why", action="store_true", help="show what was asked on the way to each cause")
    diagnose.add_argument("--json", action="store_true", help="one JSON object, with the signals")


def _add_lists(commands: _Commands) -> None:
    what = "list hardware profiles, the best for this machine first; show or make one"
    profiles = commands.add_parser("profiles", help=what, description=f"{what.capitalize()}.")
    profiles.add_argument(
        "what",
        nargs="*",
        metavar="[show | new] NAME",
        help="show NAME in full; or write a commented starting file for this machine into your own profiles",
    )
    what = "list what can be trained, or show one recipe in full"
    recipes = commands.add_parser("recipes", help=what, description=f"{what.capitalize()}.")
    recipes.add_argument("what", nargs="*", metavar="[show] NAME", help="show NAME in full")
    what = "list every setting with its default"
    lister = commands.add_parser("settings", help=what, description=f"{what.capitalize()}.")
    lister.add_argument("name", nargs="?", metavar="NAME", help="show this one alone")
    for command in (profiles, recipes, lister):
        command.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_output(command: argparse.ArgumentParser) -> None:
    add_low_bandwidth(command)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--plain", action="store_true", help="plain lines, also in a terminal")
    output.add_argument("--json", action="store_true", help="JSON lines: the run's events, then a summary")


def _measuring_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 5 <= value <= 600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 5 to 600, got '{plain(text, 40)}'")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    top = parser()
    # argparse takes positional arguments in one place only; settings may stand between options.
    options, rest = top.parse_known_args(arguments)
    if "overrides" in options:
        options.overrides += [argument for argument in rest if not argument.startswith("-")]
        rest = [argument for argument in rest if argument.startswith("-")]
    if rest:
        top.error(f"unrecognized arguments: {plain(' '.join(rest), 200)}")
    try:
        return _dispatch(options)
    except BadInput as error:
        print(f"gputrain-tui: {plain(str(error), 1000)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(options: argparse.Namespace) -> int:
    if options.version:
        from gputrain.engine.version import VERSION

        print(f"gputrain-tui {VERSION}")
        return 0
    name = {None: "launcher", "profiles": "lists", "recipes": "lists", "settings": "lists"}.get(
        options.command, options.command
    )
    module = importlib.import_module(f"gputrain.tui.commands.{name}")
    code: int = module.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
