"""Arguments of train, check, calibrate, bench, cache and pack, and of profiles, recipes and settings."""

from __future__ import annotations

from gputrain.engine.common.units import PER_STEP_UNITS, per_second
from gputrain.tui.cli.argument_types import byte_size, count, hang_seconds, jpeg_quality, measuring_seconds, short_side
from gputrain.tui.cli.shared_arguments import DETACH, FORCE, Commands, add_choice, add_output


def add_plan_commands(commands: Commands) -> None:
    """Add the commands that make a plan."""
    _add_train(commands)
    _add_exec(commands)
    _add_check(commands)
    _add_calibrate(commands)
    _add_bench(commands)
    _add_cache(commands)
    _add_pack(commands)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="start a run and watch it", description="Start a run and watch it.")
    add_choice(train)
    train.add_argument(
        "--machine",
        metavar="PROFILE",
        help="with --dry-run: plan for another machine, described by this profile "
        "(PROFILE[,gpus=N][,cores=N][,ram=GIB][,images=N])",
    )
    train.add_argument(
        "--dry-run", action="store_true", help="print the plan and exit (exit code 2 if it cannot start as given)"
    )
    train.add_argument(
        "--slurm",
        metavar="OPTIONS",
        help="submit the run to Slurm, with one rank for each GPU of the job: "
        "partition=gpu,nodes=2,gpus-per-node=4,time=4:00:00 and other options of sbatch; with --dry-run print the "
        "batch script; --machine PROFILE names the job's GPU",
    )
    train.add_argument(
        "--calibrate",
        action="store_true",
        help="measure the recipe on this machine first, as calibrate does (about 40 s)",
    )
    train.add_argument("--force", action="store_true", help=FORCE)
    train.add_argument("--detach", action="store_true", help=DETACH)
    add_output(train)


def _add_exec(commands: Commands) -> None:
    script = commands.add_parser(
        "exec",
        usage="gputrain-tui exec [options] -- COMMAND [ARGUMENT …]",
        help="run a training script of your own, unedited, and watch it",
        description="Run any command, such as: exec -- python my_train.py --lr 0.1. Steps, data wait, workers and "
        "logged scalars of its Python processes are measured from inside; the script needs no edit. The run continues "
        "when you leave, and tail opens it again. The exit code is the command's own.",
    )
    script.add_argument(
        "--config",
        metavar="FILE",
        help="read options from a YAML file: command, name, tags, images_per_step (samples_…, tokens_…), no_inject, "
        "autotune, pty, hang_seconds; what the command line says wins",
    )
    script.add_argument("--name", metavar="NAME", help="name of the run; default: that of the script")
    script.add_argument("--tag", action="append", metavar="TAG", help="a tag for the run; may be repeated")
    counted = script.add_mutually_exclusive_group()
    for unit in PER_STEP_UNITS:
        counted.add_argument(
            f"--{unit}-per-step",
            type=count,
            metavar="N",
            help=f"each update trains on N {unit}: the throughput is in {per_second(unit)} (default: samples that the "
            "DataLoader gives; without one, steps)",
        )
    script.add_argument("--no-inject", action="store_true", help="watch the machine and the output only")
    script.add_argument(
        "--autotune",
        action="store_true",
        help="try better settings of its DataLoader by itself, where order and samples stay the same",
    )
    script.add_argument(
        "--hang-seconds",
        type=hang_seconds,
        metavar="S",
        help="with several ranks: after S seconds without a step say which rank the others wait for, and where it is "
        "(default 300; 0: never)",
    )
    script.add_argument("--pty", action="store_true", help="give the command a terminal (default with the dashboard)")
    script.add_argument("--raw", action="store_true", help="print the command's output untouched, and nothing else")
    script.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    add_output(script)


def _add_check(commands: Commands) -> None:
    check = commands.add_parser(
        "check",
        help="check whether a run works on this machine, and what would slow it down",
        description="Check driver, torch, GPUs, CPU, memory, disk and limits, and run a short speed test (some "
        "seconds). check changes nothing: it prints its advice as commands.",
        epilog="exit codes: 0 a run works here · 1 it does not: the lines marked problem say why",
    )
    add_choice(check)
    check.add_argument("--no-speed", action="store_true", help="skip the speed test (it imports torch)")
    check.add_argument("--json", action="store_true", help="print everything as one JSON object")


def _add_calibrate(commands: Commands) -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="measure a recipe on this machine, so that plans can predict its speed",
        description="Measure on this machine: the workers alone, the training step alone, both together, and memory at "
        "two batch sizes. The result is saved. Later plans of the recipe then predict images per second, the limiting "
        "part, the run time and the largest batch that fits.",
    )
    add_choice(calibrate)
    calibrate.add_argument(
        "--seconds", type=measuring_seconds, default=40.0, metavar="S", help="seconds to measure (5 to 600; default 40)"
    )
    calibrate.add_argument("--json", action="store_true", help="print the measurements as one JSON object")


def _add_bench(commands: Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure how much faster the optimized settings are than the defaults",
        description="Train a recipe for some steps with standard settings (float32, no workers, no tuning; same image "
        "decoder) and with the plan's settings. Compare images per second, GPU utilization and peak memory, also with "
        "published speed-ups. Nothing is saved.",
    )
    add_choice(bench)
    bench.add_argument("--ladder", action="store_true", help="ablation: also add the optimizations one by one")
    bench.add_argument(
        "--steps", type=count, default=40, metavar="N", help="steps to measure after the warm-up (default 40)"
    )
    bench.add_argument(
        "--rounds",
        type=count,
        default=2,
        metavar="N",
        help="repeat all measurements N times, every second time in reverse order (default 2)",
    )
    bench.add_argument("--markdown", metavar="FILE", help="also write the table to FILE as Markdown")
    bench.add_argument("--json", action="store_true", help="print the result as one JSON object")


def _add_cache(commands: Commands) -> None:
    what = "build, list or delete caches of decoded images"
    cache = commands.add_parser("cache", help=what, description=f"{what.capitalize()}.")
    parts = cache.add_subparsers(dest="what", metavar="build|list|clear", required=True)
    build = parts.add_parser(
        "build", help="decode a recipe's images into a cache", description="Decode a recipe's images into a cache."
    )
    add_choice(build)
    build.add_argument("--json", action="store_true", help="print the result as one JSON object")
    lister = parts.add_parser("list", help="list the caches on disk", description="List the caches on disk.")
    lister.add_argument("--json", action="store_true", help="print one JSON object per line")
    clear = parts.add_parser("clear", help="delete caches", description="Delete caches that no run uses.")
    clear.add_argument("cache", metavar="CACHE", nargs="*", help="the id of a cache, or the first characters of it")
    clear.add_argument("--all", action="store_true", help="delete every cache that no run uses")
    clear.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_pack(commands: Commands) -> None:
    what = "write a data set's images as tar or Parquet shards"
    pack = commands.add_parser(
        "pack",
        help=what,
        description=f"{what.capitalize()}, for file systems that are slow at many small files, and for other machines. "
        "Files are copied as they are unless --short-side is given. Each shard is read back and compared. "
        "An interrupted command continues where it ended.",
    )
    add_choice(pack)
    pack.add_argument("--to", required=True, metavar="DIR", help="folder of the shards")
    pack.add_argument(
        "--format", choices=("webdataset", "parquet"), default="webdataset", help="webdataset: tar files (default)"
    )
    pack.add_argument(
        "--size", type=byte_size, default=256 << 20, metavar="N", help="size of a shard, such as 256M (default) or 1G"
    )
    pack.add_argument(
        "--short-side",
        type=short_side,
        default=0,
        metavar="N",
        help="resize larger images to a short side of N pixels, and encode them as JPEG",
    )
    pack.add_argument(
        "--quality", type=jpeg_quality, default=92, metavar="N", help="JPEG quality with --short-side (default 92)"
    )
    pack.add_argument(
        "--keep-order",
        action="store_true",
        help="keep training images sorted by class; they are shuffled otherwise, as shuffle=shards needs",
    )
    pack.add_argument("--json", action="store_true", help="print the result as one JSON object")


def add_catalog_commands(commands: Commands) -> None:
    """Add the commands that list profiles, recipes and settings."""
    what = "list hardware profiles, the best for this machine first; show or create one"
    profiles = commands.add_parser("profiles", help=what, description=f"{what.capitalize()}.")
    profiles.add_argument(
        "what",
        nargs="*",
        metavar="[show | new] NAME",
        help="show: print the profile NAME in full; new: write a commented profile for this machine to your profiles",
    )
    what = "list the recipes, or show one in full"
    recipes = commands.add_parser("recipes", help=what, description=f"{what.capitalize()}.")
    recipes.add_argument("what", nargs="*", metavar="[show] NAME", help="print the recipe NAME in full")
    what = "list every setting with its default"
    lister = commands.add_parser("settings", help=what, description=f"{what.capitalize()}.")
    lister.add_argument("name", nargs="?", metavar="NAME", help="print only this setting")
    for command in (profiles, recipes, lister):
        command.add_argument("--json", action="store_true", help="print one JSON object per line")
