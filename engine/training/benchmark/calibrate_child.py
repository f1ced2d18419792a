"""Child process of a calibration, started by `jobs.calibration_job` with ``python -m``."""

from __future__ import annotations

import contextlib

from gputrain.engine.estimates.calibration import Calibration
from gputrain.engine.jobs.calibration_job import CalibrationOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl


def _work(
    order: CalibrationOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback
) -> Calibration:
    from gputrain.engine.training.benchmark.build_benchmark import RunParts
    from gputrain.engine.training.benchmark.measure_throughput import measure

    with contextlib.ExitStack() as loaders:
        return measure(order, RunParts(order.config, reporter, control, loaders, tell))


if __name__ == "__main__":
    serve_job(CalibrationOrder, _work)
