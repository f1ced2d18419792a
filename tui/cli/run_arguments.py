"""Arguments of the commands that are about runs: list, watch, compare, end, go on, keep, remove, diagnose."""

from __future__ import annotations

from gputrain.tui.cli.argument_types import count
from gputrain.tui.cli.shared_arguments import RUN, Commands, add_output


def add_run_commands(commands: Commands) -> None:
    """All of them."""
    _add_runs(commands)
    _add_mark(commands)
    _add_clone(commands)
    _add_removing(commands)
    _add_compare(commands)
    _add_tail(commands)
    _add_resume(commands)
    _add_stop(commands)
    _add_diagnose(commands)
    _add_predict(commands)
    _add_log(commands)


_FORCE = "start although the plan says that memory will not suffice"


def _add_runs(commands: Commands) -> None:
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


def _add_mark(commands: Commands) -> None:
    mark = commands.add_parser(
        "mark", help="give a run a name, tags or a note", description="Give a run a name, tags or a note."
    )
    mark.add_argument("run", metavar="RUN", help=RUN)
    mark.add_argument("--name", help="a name, by which it can be found from now on; empty: none")
    mark.add_argument("--tag", action="append", default=[], help="add a tag; prune leaves runs tagged keep alone")
    mark.add_argument("--untag", action="append", default=[], metavar="TAG", help="take a tag away")
    mark.add_argument("--note", help="a sentence about it; empty: none")


def _add_clone(commands: Commands) -> None:
    what = "start a new run with another one's settings"
    clone = commands.add_parser("clone", help=what, description=f"{what.capitalize()}, some of them changed.")
    clone.add_argument("run", metavar="RUN", help=RUN)
    clone.add_argument("--force", action="store_true", help=_FORCE)
    clone.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    add_output(clone)
    clone.add_argument("overrides", nargs="*", metavar="setting=value", help="settings that are to be others")


def _add_removing(commands: Commands) -> None:
    delete = commands.add_parser(
        "delete",
        help="remove runs with all their files",
        description="Remove runs with all their files; never live ones.",
    )
    delete.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    prune = commands.add_parser(
        "prune",
        help="remove runs that are old or take too much room",
        description="Remove runs that are old or take too much room; never live ones, nor those tagged keep.",
    )
    prune.add_argument("--older", metavar="AGE", help="runs that ended longer ago: 30d, 12h, 2w")
    prune.add_argument(
        "--total", metavar="SIZE", help="the oldest runs, until the rest fits into 50G, 500M …; never the newest one"
    )
    prune.add_argument("--keep", type=count, metavar="N", help="leave the newest N alone")
    prune.add_argument("--dry-run", action="store_true", help="show what would go")
    for command in (delete, prune):
        command.add_argument("--yes", action="store_true", help="do not ask")


def _add_compare(commands: Commands) -> None:
    what = "show runs beside each other"
    about = "settings that differ, figures, what held each back, and a curve"
    compare = commands.add_parser("compare", help=what, description=f"{what.capitalize()}: {about}.")
    compare.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    compare.add_argument("--metric", default="loss", help="the curve: loss (default), val_accuracy, val_loss …")
    compare.add_argument(
        "--over", default="step", choices=("step", "seconds", "images"), help="along what; default: step"
    )
    compare.add_argument("--json", action="store_true", help="one JSON object, with all curves")


def _add_tail(commands: Commands) -> None:
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
    add_output(tail)


def _add_resume(commands: Commands) -> None:
    resume = commands.add_parser(
        "resume",
        help="go on where a run stopped",
        description=(
            "Go on where a run stopped: from its last checkpoint in its own record, from an earlier one as a new run."
        ),
    )
    resume.add_argument("run", metavar="RUN", help=RUN)
    resume.add_argument(
        "--from", dest="wanted", default="last", metavar="WHERE", help="last (default), best, or a checkpoint's step"
    )
    resume.add_argument(
        "--if-needed", action="store_true", help="exit with 0 if the run is finished: for jobs that are requeued"
    )
    resume.add_argument("--force", action="store_true", help=_FORCE)
    resume.add_argument("--detach", action="store_true", help="start, print the run's name and leave")
    add_output(resume)
    resume.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="settings that may change on the way: num_workers=8"
    )


def _add_stop(commands: Commands) -> None:
    stop = commands.add_parser(
        "stop", help="end a run, after a checkpoint", description="End a run after a checkpoint, and wait until it has."
    )
    stop.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, HOST:RUN, or: last")
    stop.add_argument("--now", action="store_true", help="at once, without a checkpoint")
    stop.add_argument("--no-wait", action="store_true", help="ask, and do not wait until it has ended")


def _add_diagnose(commands: Commands) -> None:
    diagnose = commands.add_parser(
        "diagnose",
        help="say what holds a run back, and what to change",
        description="Say what holds a run back, running or over: the cause, its evidence, what to change, the rate to "
        "expect of that, and what would show that it is something else.",
    )
    diagnose.add_argument("run", metavar="RUN", help="a run's name, part of it, its directory, HOST:RUN, or: last")
    diagnose.add_argument("--why", action="store_true", help="show what was asked on the way to each cause")
    diagnose.add_argument("--json", action="store_true", help="one JSON object, with the signals")


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser(
        "predict",
        help="try what a run has learned on images, and measure how fast",
        description="Try what a run has learned on its validation images or on others, in batches: predictions as CSV, "
        "metrics where there are labels, images per second and peak memory.",
    )
    predict.add_argument("run", metavar="RUN", help=RUN)
    predict.add_argument(
        "--images", metavar="PATH", help="a folder of images (of folders named as the classes: with labels), or one"
    )
    predict.add_argument(
        "--from", dest="wanted", default="best", metavar="WHERE", help="best (default), last, or a checkpoint's step"
    )
    predict.add_argument("--output", metavar="FILE", help="write the predictions there, as CSV")
    predict.add_argument("--limit", type=count, metavar="N", help="at most N samples")
    predict.add_argument("--compare", action="store_true", help="on the CPU and the GPU, in float32 and in less")
    predict.add_argument("--json", action="store_true", help="one JSON object")
    predict.add_argument(
        "overrides", nargs="*", metavar="setting=value", help="other settings: batch_size=256 device=cpu precision=fp32"
    )


def _add_log(commands: Commands) -> None:
    log = commands.add_parser(
        "log",
        help="write a run to TensorBoard or W&B",
        description="Write a run to TensorBoard or W&B, from its first event on; a live one until it ends.",
    )
    log.add_argument("run", metavar="RUN", help=RUN)
    log.add_argument("--to", required=True, metavar="LOGGER", help="tensorboard or wandb")
    log.add_argument("--dir", metavar="DIR", help="folder for the files; default: one in the run directory")
    log.add_argument("--json", action="store_true", help="JSON lines: the progress, then where the result is")
