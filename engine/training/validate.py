"""How good the model is on images it was not trained on; sums stay on the device until the end."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from gputrain.engine.events import Phase
from gputrain.engine.training.batches import BatchSource
from gputrain.engine.training.control import Control
from gputrain.engine.training.device import Compute
from gputrain.engine.training.device_augment import Feed
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.timing import Clock

METRIC = "accuracy"
"""What decides which checkpoint is the best."""


def validate(
    network: nn.Module,
    source: BatchSource,
    feed: Feed,
    compute: Compute,
    control: Control,
    reporter: Reporter,
    part: int,
) -> tuple[dict[str, float], int] | None:
    """Loss, accuracy and (from six classes on) top-5 accuracy over all of `source`, and the number of images.

    At most `part` images are computed at once. None if the run was asked to stop meanwhile.
    """
    sums = torch.zeros(3, dtype=torch.float64, device=compute.device)
    images = classes = 0
    network.eval()
    with torch.inference_mode():
        for number, batch in enumerate(feed.batches(source.epoch(0), Clock(compute)), start=1):
            for prepared in feed.prepare(batch).split(part):
                with compute.autocast():
                    scores = network(prepared.images)
                sums += _sums(scores.float(), prepared.labels)
            images, classes = images + len(batch.labels), scores.shape[1]
            reporter.progress(number, len(source), "batches")
            control.poll()
            control.wait_while_paused(reporter.phase, Phase.VALIDATING)
            if control.stop:
                return None
    loss, top1, top5 = (sums / max(1, images)).tolist()
    metrics = {"loss": loss, "accuracy": top1}
    if classes > 5:
        metrics["accuracy_top5"] = top5
    return metrics, images


def _sums(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = functional.cross_entropy(scores, labels, reduction="sum")
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack((loss, best[:, 0].sum(), best.sum())).double()
