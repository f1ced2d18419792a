"""Child process of a prediction with Keras, started by `jobs.predict_job` with ``python -m``."""

from __future__ import annotations

from gputrain.engine.configuration.engine_choice import KERAS
from gputrain.engine.jobs.predict_job import Predicted, PredictOrder
from gputrain.engine.keras import environment
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl


def _work(order: PredictOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> Predicted:
    environment.prepare(order.config)
    # Imported here: TensorFlow takes seconds, and progress is reported first.
    from gputrain.engine.keras.inference.prediction import PredictionRun

    return PredictionRun(order, reporter, control, tell).run()


if __name__ == "__main__":
    serve_job(PredictOrder, _work, KERAS)
