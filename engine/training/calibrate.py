"""The process that calibrates, as asked by `gputrain.engine.calibrating`: ``python -m`` this module."""

from __future__ import annotations

import contextlib

from gputrain.engine.calibrating import Order
from gputrain.engine.calibration import Calibration
from gputrain.engine.childwork import Tell
from gputrain.engine.training.childentry import serve
from gputrain.engine.training.control import Control
from gputrain.engine.training.reporter import Reporter


def _work(order: Order, reporter: Reporter, control: Control, tell: Tell) -> Calibration:
    from gputrain.engine.training.measuring import measure
    from gputrain.engine.training.runparts import RunParts

    with contextlib.ExitStack() as loaders:
        return measure(order, RunParts(order.config, reporter, control, loaders, tell))


if __name__ == "__main__":
    serve(Order, _work)
