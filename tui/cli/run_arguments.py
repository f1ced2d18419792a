"""Arguments of the commands on existing runs: list, watch, compare, stop, resume, label, delete, diagnose."""

from __future__ import annotations

from gputrain.tui.cli.argument_types import count, trace_steps
from gputrain.tui.cli.shared_arguments import DETACH, FORCE, RUN, RUN_OR_REMOTE, Commands, add_output


def add_run_commands(commands: Commands) -> None:
    """Add all of them."""
    _add_runs(commands)
    _add_mark(commands)
    _add_clone(commands)
    _add_removing(commands)
    _add_compare(commands)
    _add_tail(commands)
    _add_resume(commands)
    _add_stop(commands)
    _add_diagnose(commands)
    _add_stacks(commands)
    _add_profile(commands)
    _add_predict(commands)
    _add_log(commands)


def _add_runs(commands: Commands) -> None:
    runs = commands.add_parser("runs", help="list runs, newest first", description="List runs, newest first.")
    runs.add_argument("host", nargs="?", metavar="HOST:", help="list the runs on another machine over ssh")
    runs.add_argument("--state", help="only runs in this state (running, finished, failed …)")
    runs.add_argument(
        "--find", metavar="WORDS", help="only runs with all these words in id, name, tags, note or recipe"
    )
    runs.add_argument(
        "--tag", action="append", default=[], help="only runs with this tag; repeat the option to require several tags"
    )
    runs.add_argument(
        "--sort",
        default="newest",
        metavar="KEY",
        help="sort by newest (default), name, state, recipe, steps, speed, best or took",
    )
    runs.add_argument("-n", "--lines", type=count, metavar="N", help="list at most N runs")
    runs.add_argument(
        "--screen", action="store_true", help="open a screen to browse the runs, watch, compare and manage them"
    )
    runs.add_argument("--json", action="store_true", help="print one JSON object per line")


def _add_mark(commands: Commands) -> None:
    mark = commands.add_parser(
        "mark", help="give a run a name, tags or a note", description="Give a run a name, tags or a note."
    )
    mark.add_argument("run", metavar="RUN", help=RUN)
    mark.add_argument("--name", help="a name that commands accept instead of the run's id; empty removes it")
    mark.add_argument("--tag", action="append", default=[], help="add a tag; prune never deletes runs tagged keep")
    mark.add_argument("--untag", action="append", default=[], metavar="TAG", help="remove a tag")
    mark.add_argument("--note", help="a note about the run; empty removes it")


def _add_clone(commands: Commands) -> None:
    what = "start a new run with the settings of an existing run"
    clone = commands.add_parser("clone", help=what, description=f"{what.capitalize()}. Some settings can be changed.")
    clone.add_argument("run", metavar="RUN", help=RUN)
    clone.add_argument("--force", action="store_true", help=FORCE)
    clone.add_argument("--detach", action="store_true", help=DETACH)
    add_output(clone)
    clone.add_argument("overrides", nargs="*", metavar="setting=value", help="settings to override")


def _add_removing(commands: Commands) -> None:
    delete = commands.add_parser(
        "delete",
        help="delete runs with all their files",
        description="Delete runs with all their files. Live runs are refused.",
    )
    delete.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    prune = commands.add_parser(
        "prune",
        help="delete runs that are old or take too much disk space",
        description="Delete runs that are old or take too much disk space. Live runs and runs tagged keep stay.",
    )
    prune.add_argument("--older", metavar="AGE", help="delete runs that ended longer ago than AGE: 30d, 12h, 2w")
    prune.add_argument(
        "--total",
        metavar="SIZE",
        help="delete the oldest runs until the rest fits into SIZE: 50G, 500M …; the newest run stays",
    )
    prune.add_argument("--keep", type=count, metavar="N", help="never delete the newest N runs")
    prune.add_argument("--dry-run", action="store_true", help="print what would be deleted")
    for command in (delete, prune):
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_compare(commands: Commands) -> None:
    what = "compare runs side by side"
    about = "settings that differ, results, the bottleneck of each, and a curve"
    compare = commands.add_parser("compare", help=what, description=f"{what.capitalize()}: {about}.")
    compare.add_argument("run", metavar="RUN", nargs="+", help=RUN)
    compare.add_argument("--metric", default="loss", help="the curve to draw: loss (default), val_accuracy, val_loss …")
    compare.add_argument(
        "--over", default="step", choices=("step", "seconds", "images"), help="the x-axis (default: step)"
    )
    compare.add_argument("--json", action="store_true", help="print one JSON object with all curves")


def _add_tail(commands: Commands) -> None:
    tail = commands.add_parser(
        "tail",
        help="watch a run, live or finished",
        description="Watch a run from its first event on, live or finished. Watching does not affect the run.",
    )
    tail.add_argument(
        "run",
        metavar="RUN",
        help=RUN_OR_REMOTE,
    )
    tail.add_argument(
        "-n", "--lines", type=count, metavar="N", help="start with the last N lines (with --plain or --json)"
    )
    tail.add_argument("--no-follow", action="store_true", help="print what was recorded so far and exit")
    add_output(tail)


def _add_resume(commands: Commands) -> None:
    resume = commands.add_parser(
        "resume",
        help="continue a stopped run",
        description=(
            "Continue a stopped run. The last checkpoint continues the same run; an earlier one starts a new run."
        ),
    )
    resume.add_argument("run", metavar="RUN", help=RUN)
    resume.add_argument(
        "--from",
        dest="wanted",
        default="last",
        metavar="WHERE",
        help="checkpoint to continue from: last (default), best, or a step number",
    )
    resume.add_argument(
        "--if-needed", action="store_true", help="exit with 0 if the run is finished: for jobs that are requeued"
    )
    resume.add_argument("--force", action="store_true", help=FORCE)
    resume.add_argument("--detach", action="store_true", help=DETACH)
    add_output(resume)
    resume.add_argument(
        "overrides",
        nargs="*",
        metavar="setting=value",
        help="settings to change, where a resumed run allows it: num_workers=8",
    )


def _add_stop(commands: Commands) -> None:
    stop = commands.add_parser(
        "stop",
        help="stop a run after a checkpoint",
        description="Stop a run after a checkpoint, and wait until it has ended.",
    )
    stop.add_argument("run", metavar="RUN", help=RUN_OR_REMOTE)
    stop.add_argument("--now", action="store_true", help="stop at once, without a checkpoint")
    stop.add_argument("--no-wait", action="store_true", help="send the request and exit without waiting")


def _add_diagnose(commands: Commands) -> None:
    diagnose = commands.add_parser(
        "diagnose",
        help="find a run's bottleneck, and what to change",
        description="Find the bottleneck of a run, live or finished: the cause, the evidence, what to change, the "
        "expected speed after the change, and what would rule the cause out.",
    )
    diagnose.add_argument("run", metavar="RUN", help=RUN_OR_REMOTE)
    diagnose.add_argument("--why", action="store_true", help="print the decisions that led to each cause")
    diagnose.add_argument("--json", action="store_true", help="print one JSON object with the measured signals")


def _add_stacks(commands: Commands) -> None:
    stacks = commands.add_parser(
        "stacks",
        help="show what all threads of a running run do now",
        description="Show the stacks of all threads of trainer, ranks and data workers, and of the Python processes of "
        "a script, at once. Works when they hang. The line that most processes are in comes first.",
    )
    stacks.add_argument("run", metavar="RUN", help=RUN_OR_REMOTE)
    stacks.add_argument("--json", action="store_true", help="print one JSON object")


def _add_profile(commands: Commands) -> None:
    profile = commands.add_parser(
        "profile",
        help="record some steps of a running run with torch's profiler, and show what took the time",
        description="Record the next steps of a running training with torch's profiler, without a restart: the ten "
        "most expensive operators, the shares of kernels, copies, gaps and data, the lines that wait for the GPU. The "
        "Chrome trace is kept in the run directory. Outside of these steps nothing is recorded.",
    )
    profile.add_argument("run", metavar="RUN", help=RUN_OR_REMOTE)
    profile.add_argument(
        "--steps", type=trace_steps, default=10, metavar="N", help="number of steps, 1 to 100 (default: 10)"
    )
    profile.add_argument("--json", action="store_true", help="print one JSON object")


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser(
        "predict",
        help="run a trained model on images, and measure its speed",
        description="Run inference with a checkpoint of a run on its validation images or on other images: predictions "
        "as CSV, metrics if there are labels, images per second and peak memory.",
    )
    predict.add_argument("run", metavar="RUN", help=RUN)
    predict.add_argument(
        "--images",
        metavar="PATH",
        help="an image, a folder of images or of shards, or a shard; subfolders named like the classes, and shards, "
        "give the labels",
    )
    predict.add_argument(
        "--from",
        dest="wanted",
        default="best",
        metavar="WHERE",
        help="checkpoint: best (default), last, or a step number",
    )
    predict.add_argument("--output", metavar="FILE", help="write the predictions to FILE as CSV")
    predict.add_argument("--limit", type=count, metavar="N", help="predict at most N samples")
    predict.add_argument(
        "--compare", action="store_true", help="measure on CPU and GPU, in float32 and in lower precision"
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object")
    predict.add_argument(
        "overrides",
        nargs="*",
        metavar="setting=value",
        help="settings to override: batch_size=256 device=cpu precision=fp32",
    )


def _add_log(commands: Commands) -> None:
    log = commands.add_parser(
        "log",
        help="export a run to TensorBoard, W&B, MLflow or Trackio",
        description="Export a run to TensorBoard, W&B, MLflow or Trackio from its first event on. A live run is "
        "followed until it ends.",
    )
    log.add_argument("run", metavar="RUN", help=RUN)
    log.add_argument("--to", required=True, metavar="LOGGER", help="tensorboard, wandb, mlflow or trackio")
    log.add_argument("--dir", metavar="DIR", help="output folder (default: a folder in the run directory)")
    log.add_argument("--json", action="store_true", help="print JSON lines: progress, then the output folder")
