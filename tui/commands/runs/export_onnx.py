"""Exports the model of a run as ONNX, and prints how it compares with the original."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs.onnx_export_job import Exported, OnnxForm, OnnxOrder, export_onnx
from gputrain.engine.jobs.predict_job import checkpoint_of, config_of
from gputrain.engine.launching import resume_run
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.commands.command_messages import fail, progress_printer
from gputrain.tui.render import format as fmt
from gputrain.tui.render.text_table import print_table


def export_network(target: RunDir, path: Path, wanted: str, *, int8: bool) -> int:
    """Write the model; print the comparison and the file name. Returns 0, or 1 on failure. Raises BadInput."""
    entry = checkpoint_of(target, wanted)
    plan = resume_run.plan_from_run(
        target, {"device": "cpu", "precision": "fp32", "channels_last": False}, inspect_machine()
    )
    config = config_of(plan.config, target, entry)
    try:
        made = export_onnx(
            OnnxOrder(config=config, file=str(files.expand_user(path).absolute()), int8=int8),
            progress_printer("export"),
        )
    except RuntimeError as error:
        return fail(error)
    print(f"{plain(target.id, 100)}, {entry.file} of step {entry.step}, compared on {made.samples} validation samples")
    print_table(
        ("", "size", "img/s", made.metric, "same class", "largest difference"), [_cells(f, made) for f in made.forms]
    )
    print(path)
    return EXIT_FINISHED


def _cells(form: OnnxForm, made: Exported) -> tuple[str, ...]:
    judged, differs = form.metrics.get(made.metric), form.largest_difference
    return (
        form.name,
        fmt.size(form.bytes),
        fmt.rate(form.samples_per_second),
        f"{judged:.4g}" if judged is not None else fmt.MISSING,
        f"{form.agrees:.2%}" if form.agrees is not None else fmt.MISSING,
        f"{differs:.2g}" if differs is not None else fmt.MISSING,
    )
