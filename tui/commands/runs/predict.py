"""``gputrain-tui predict RUN``: runs inference with a checkpoint; prints metrics, speed and peak memory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from gputrain.engine.common import files
from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder, checkpoint_of, config_of, predict
from gputrain.engine.launching import resume_run
from gputrain.engine.runs import run_directory
from gputrain.tui.commands.command_messages import fail, progress_printer
from gputrain.tui.render import format as fmt
from gputrain.tui.render.text_table import print_table

_COMPARED = 1024
"""Default number of samples for ``--compare``: about a minute of a large model on a CPU."""
_HEADER = ("device", "precision", "batch", "img/s", "speed-up", "peak memory")
_MOST_CLASSES = 12


def run(options: argparse.Namespace) -> int:
    """Returns 0 on success, 1 if the prediction failed."""
    target, machine = run_directory.find(options.run), inspect_machine()
    entry = checkpoint_of(target, options.wanted)
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    plan = resume_run.plan_from_run(target, overrides, machine)
    order = PredictOrder(
        config=config_of(plan.config, target, entry),
        images=str(files.expand_user(options.images).absolute()) if options.images else "",
        output=str(files.expand_user(options.output).absolute()) if options.output else "",
        limit=options.limit or (_COMPARED if options.compare else 0),
    )
    orders = list(_compared(order, machine, overrides)) if options.compare else [order]
    try:
        found = [predict(one, progress_printer("predict")) for one in orders]
    except RuntimeError as error:
        return fail(error)
    if options.json:
        answer: object = {"run": target.id, "checkpoint": entry.file, "step": entry.step, "predicted": found}
        print(msgspec.json.encode(answer).decode())
        return EXIT_FINISHED
    print(f"{plain(target.id, 100)}, {entry.file} of step {entry.step}: {_what(found[-1])}")
    print_table(_HEADER, [_cells(one, found[0]) for one in found])
    if options.compare and not machine.gpus:
        print("this machine has no GPU to compare with")
    for line in _result_lines(found[-1]):
        print(line)
    if options.output:
        print(order.output)
    return EXIT_FINISHED


def _compared(order: PredictOrder, machine: Machine, overrides: dict[str, Any]) -> Iterator[PredictOrder]:
    """An order per device and precision: CPU, then GPU, in fp32 and in precision=auto. The last writes the file."""
    if "device" in overrides or "precision" in overrides:
        raise BadInput("--compare tries every device and precision: remove these settings")
    tried: list[RunConfig] = []
    for device in ("cpu", "cuda") if machine.gpus else ("cpu",):
        tried += [settings.replace(order.config, device=device, precision=kind) for kind in ("fp32", "auto")]
    for number, config in enumerate(tried, start=1):
        yield msgspec.structs.replace(order, config=config, output=order.output if number == len(tried) else "")


def _what(one: Predicted) -> str:
    unreadable = f", {one.bad_samples} unreadable" if one.bad_samples else ""
    return f"{one.samples} samples{unreadable}"


def _cells(one: Predicted, first: Predicted) -> tuple[str, ...]:
    return (
        ("GPU " if one.gpu else "CPU ") + plain(one.device, 60),
        one.precision,
        str(one.batch_size),
        fmt.rate(one.samples_per_second),
        f"{one.samples_per_second / first.samples_per_second:.2f} ×",
        fmt.size(one.peak_bytes),
    )


def _result_lines(one: Predicted) -> Iterator[str]:
    """Metrics, and the number of samples predicted as each class."""
    if one.metrics:
        yield ", ".join(f"{name} {value:.4g}" for name, value in one.metrics.items())
    often = sorted(zip(one.counts, one.classes, strict=True), reverse=True)
    for count, name in [pair for pair in often if pair[0]][:_MOST_CLASSES]:
        yield f"{count:>8}  {plain(name, 60)}"
    if sum(count > 0 for count, _ in often) > _MOST_CLASSES:
        yield "       …"
