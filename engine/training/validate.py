"""How good the model is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import torch
from torch import nn

from gputrain.engine.events import Phase
from gputrain.engine.training.batches import BatchSource
from gputrain.engine.training.control import Control
from gputrain.engine.training.device import Compute
from gputrain.engine.training.device_augment import Feed
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.tasks.task import Scores
from gputrain.engine.training.timing import Clock


def validate(
    network: nn.Module,
    source: BatchSource,
    feed: Feed,
    compute: Compute,
    control: Control,
    reporter: Reporter,
    part: int,
    scores: Scores,
) -> tuple[dict[str, float], int] | None:
    """The metrics of the (empty) `scores` over all of `source`, and the number of images.

    At most `part` samples are computed at once. None if the run was asked to stop meanwhile.
    """
    images = 0
    network.eval()
    with torch.inference_mode():
        for number, batch in enumerate(feed.batches(source.epoch(0), Clock(compute)), start=1):
            for prepared in feed.prepare(batch).split(part):
                with compute.autocast():
                    outputs = network(prepared.images)
                scores.add(outputs.float(), prepared.targets)
            images += len(batch.labels)
            reporter.progress(number, len(source), "batches")
            control.poll()
            control.wait_while_paused(reporter.phase, Phase.VALIDATING)
            if control.stop:
                return None
    return scores.metrics(), images
