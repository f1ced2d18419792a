"""The process that tries a network of Keras on images, as asked by `gputrain.engine.predicting`: ``python -m`` this."""

from __future__ import annotations

from gputrain.engine.childwork import Tell
from gputrain.engine.engines import KERAS
from gputrain.engine.keras import environment
from gputrain.engine.predicting import Predicted, PredictOrder
from gputrain.engine.training.childentry import serve
from gputrain.engine.training.control import Control
from gputrain.engine.training.reporter import Reporter


def _work(order: PredictOrder, reporter: Reporter, control: Control, tell: Tell) -> Predicted:
    environment.prepare(order.config)
    # Only now TensorFlow: what is done is told first.
    from gputrain.engine.keras.trial import Trial

    return Trial(order, reporter, control, tell).run()


if __name__ == "__main__":
    serve(PredictOrder, _work, KERAS)
