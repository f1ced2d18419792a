"""A run's network as an ONNX file, and the table of how it compares with the original."""

from __future__ import annotations

import sys
from pathlib import Path

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.common.sanitize import plain
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs.onnx_export_job import Exported, OnnxForm, OnnxOrder, export_onnx
from gputrain.engine.jobs.predict_job import checkpoint_of, config_of
from gputrain.engine.launching import resume_run
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.render import format as fmt
from gputrain.tui.render.text_table import print_table


def export_network(target: RunDir, path: Path, wanted: str, *, int8: bool) -> int:
    """Write it, and print the table and the file. Returns 0, or 1 if it could not be written. Raises BadInput."""
    entry = checkpoint_of(target, wanted)
    plan = resume_run.plan_from_run(
        target, {"device": "cpu", "precision": "fp32", "channels_last": False}, inspect_machine()
    )
    config = config_of(plan.config, target, entry)
    try:
        made = export_onnx(OnnxOrder(config=config, file=str(path.expanduser().absolute()), int8=int8), _tell)
    except RuntimeError as error:
        print(f"gputrain-tui: {plain(str(error), 600)}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{plain(target.id, 100)}, {entry.file} of step {entry.step}, tried on {made.samples} validation samples")
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


def _tell(text: str) -> None:
    print(f"export: {plain(text, 200)}", file=sys.stderr, flush=True)
