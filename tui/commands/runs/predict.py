"""``gputrain-tui predict RUN``: what a run has learned, tried on images; how fast, and in how much memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder, checkpoint_of, config_of, predict
from gputrain.engine.launching import resume_run
from gputrain.engine.runs import run_directory
from gputrain.tui.render import format as fmt
from gputrain.tui.render.text_table import print_table

_COMPARED = 1024
"""Samples that are compared unless ``--limit`` says otherwise: on a CPU that is a minute of a large network."""
_HEADER = ("device", "precision", "batch", "img/s", "speed-up", "peak memory")
_CLASSES_TOLD = 12


def run(options: argparse.Namespace) -> int:
    """Returns 0 when all was predicted, 1 if it could not be."""
    target, machine = run_directory.find(options.run), inspect_machine()
    entry = checkpoint_of(target, options.wanted)
    overrides: dict[str, Any] = dict(settings.parse_override(argument) for argument in options.overrides)
    plan = resume_run.plan_from_run(target, overrides, machine)
    order = PredictOrder(
        config=config_of(plan.config, target, entry),
        images=str(Path(options.images).expanduser().absolute()) if options.images else "",
        output=str(Path(options.output).expanduser().absolute()) if options.output else "",
        limit=options.limit or (_COMPARED if options.compare else 0),
    )
    orders = list(_compared(order, machine, overrides)) if options.compare else [order]
    try:
        found = [predict(one, _tell) for one in orders]
    except RuntimeError as error:
        print(f"gputrain-tui: {plain(str(error), 600)}", file=sys.stderr)
        return EXIT_FAILED
    if options.json:
        answer: object = {"run": target.id, "checkpoint": entry.file, "step": entry.step, "predicted": found}
        print(msgspec.json.encode(answer).decode())
        return EXIT_FINISHED
    print(f"{plain(target.id, 100)}, {entry.file} of step {entry.step}: {_what(found[-1])}")
    print_table(_HEADER, [_cells(one, found[0]) for one in found])
    if options.compare and not machine.gpus:
        print("there is no GPU here to compare with")
    for line in _said(found[-1]):
        print(line)
    if options.output:
        print(order.output)
    return EXIT_FINISHED


def _compared(order: PredictOrder, machine: Machine, overrides: dict[str, Any]) -> Iterator[PredictOrder]:
    """The CPU in float32 and in what suits it, then the GPU likewise; the last one writes the file."""
    if "device" in overrides or "precision" in overrides:
        raise BadInput("--compare tries each device and precision by itself: leave these settings out")
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


def _said(one: Predicted) -> Iterator[str]:
    """Metrics, and how many samples were given to each class."""
    if one.metrics:
        yield ", ".join(f"{name} {value:.4g}" for name, value in one.metrics.items())
    often = sorted(zip(one.counts, one.classes, strict=True), reverse=True)
    for count, name in [pair for pair in often if pair[0]][:_CLASSES_TOLD]:
        yield f"{count:>8}  {plain(name, 60)}"
    if sum(count > 0 for count, _ in often) > _CLASSES_TOLD:
        yield "       …"


def _tell(text: str) -> None:
    print(f"predict: {plain(text, 200)}", file=sys.stderr, flush=True)
