"""Arguments of the commands that are about what to run: train, check, calibrate, bench, cache, and what there is."""

from __future__ import annotations

from gputrain.tui.cli.argument_types import count, measuring_seconds
from gputrain.tui.cli.shared_arguments import Commands, add_choice, add_output


def add_plan_commands(commands: Commands) -> None:
    """Those that make a plan."""
    _add_train(commands)
    _add_exec(commands)
    _add_check(commands)
    _add_calibrate(commands)
    _add_bench(commands)
    _add_cache(commands)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="start a run and watch it", description="Start a run and watch it.")
    add_choice(train)
    train.add_argument(
        "--machine",
        metavar="PROFILE",
        help="with --dry-run: plan for the machine of this profile, which is not here "
        "(PROFILE[,gpus=N][,cores=N][,ram=GIB][,images=N])",
    )
    train.add_argument("--dry-run", action="store_true", help="show the plan and leave (exit code 2 if it is refused)")
    train.add_argument(
        "--calibrate", action="store_true", help="first measure the recipe here, as calibrate does (about 40 s)"
    )
    train.add_argument("--force", action="store_true", help="start although the plan says that memory will not suffice")
    train.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    add_output(train)


def _add_exec(commands: Commands) -> None:
    script = commands.add_parser(
        "exec",
        usage="gputrain-tui exec [options] -- COMMAND [ARGUMENT …]",
        help="run a training script of your own, unedited, and watch it",
        description="Run any command, such as: exec -- python my_train.py --lr 0.1. Its Python processes are watched "
        "from inside (steps, data wait, workers, logged scalars) without an edit; the run goes on when you leave, and "
        "tail comes back to it. The exit code is the command's own.",
    )
    script.add_argument("--name", metavar="NAME", help="name of the run; default: that of the script")
    script.add_argument("--tag", action="append", metavar="TAG", help="a tag for the run; may be repeated")
    script.add_argument(
        "--images-per-step",
        type=count,
        metavar="N",
        help="samples of one update, where they cannot be counted (no DataLoader)",
    )
    script.add_argument("--no-inject", action="store_true", help="watch the machine and the output only")
    script.add_argument(
        "--autotune",
        action="store_true",
        help="try better settings of its DataLoader by itself, where order and samples stay the same",
    )
    script.add_argument("--pty", action="store_true", help="give the command a terminal (default with the dashboard)")
    script.add_argument("--raw", action="store_true", help="print the command's output untouched, and nothing else")
    script.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    add_output(script)


def _add_check(commands: Commands) -> None:
    check = commands.add_parser(
        "check",
        help="whether a run would work here, and what would hold it back",
        description="Look at driver, torch, GPUs, CPU, memory, disk and limits, and test the speed (some seconds). "
        "Nothing is changed: advice is shown as commands.",
        epilog="exit codes: 0 a run would work · 1 it would not, and the lines marked problem say why",
    )
    add_choice(check)
    check.add_argument("--no-speed", action="store_true", help="leave out the speed test, which imports torch")
    check.add_argument("--json", action="store_true", help="everything as one JSON object")


def _add_calibrate(commands: Commands) -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="measure a recipe here, so that plans can foretell its speed",
        description="Measure the workers, the step, both together and the memory at two batch sizes on this machine. "
        "The result is kept; plans of the recipe then tell images per second, what limits them, times, and the "
        "largest batch that fits.",
    )
    add_choice(calibrate)
    calibrate.add_argument(
        "--seconds", type=measuring_seconds, default=40.0, metavar="S", help="how long (5 to 600; default 40)"
    )
    calibrate.add_argument("--json", action="store_true", help="the measurements as one JSON object")


def _add_bench(commands: Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="how much faster the optimized settings are here than standard ones",
        description="Train a recipe for some steps with standard settings (float32, no workers, no tuning; the images "
        "are read by the same decoder) and with the plan's, and compare images per second, GPU utilization and peak "
        "memory, also with what others gained. Nothing is kept.",
    )
    add_choice(bench)
    bench.add_argument("--ladder", action="store_true", help="also each optimization on top of those before it")
    bench.add_argument("--steps", type=count, default=40, metavar="N", help="steps after the warm-up (40)")
    bench.add_argument(
        "--rounds", type=count, default=2, metavar="N", help="measure all N times, every second time in reverse (2)"
    )
    bench.add_argument("--markdown", metavar="FILE", help="write the table there too, as Markdown")
    bench.add_argument("--json", action="store_true", help="the result as one JSON object")


def _add_cache(commands: Commands) -> None:
    what = "build, list or clear caches of prepared images"
    cache = commands.add_parser("cache", help=what, description=f"{what.capitalize()}.")
    parts = cache.add_subparsers(dest="what", metavar="build|list|clear", required=True)
    build = parts.add_parser(
        "build", help="prepare a recipe's images ahead", description="Prepare a recipe's images ahead."
    )
    add_choice(build)
    build.add_argument("--json", action="store_true", help="the result as one JSON object")
    lister = parts.add_parser("list", help="list the caches on disk", description="List the caches on disk.")
    lister.add_argument("--json", action="store_true", help="one JSON object a line")
    clear = parts.add_parser("clear", help="remove caches", description="Remove caches; never one that a run has open.")
    clear.add_argument("cache", metavar="CACHE", nargs="*", help="a cache's id, or its beginning")
    clear.add_argument("--all", action="store_true", help="all that no run has open")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def add_catalog_commands(commands: Commands) -> None:
    """Those that list what can be chosen: profiles, recipes, settings."""
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
