"""What a run trains with, made before its first step: data, network, loaders, and what measures them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from gputrain.engine.config import RunConfig
from gputrain.engine.events import Phase
from gputrain.engine.progressive import Growth
from gputrain.engine.training import data, device, flops, generators, model
from gputrain.engine.training.badimages import BadImages
from gputrain.engine.training.control import Control
from gputrain.engine.training.device import Compute
from gputrain.engine.training.device_augment import Feed
from gputrain.engine.training.images import ImageSet
from gputrain.engine.training.meter import Meter
from gputrain.engine.training.ranks import Ranks
from gputrain.engine.training.readers.reader import Data
from gputrain.engine.training.reporter import Reporter
from gputrain.engine.training.runloaders import RunLoaders
from gputrain.engine.training.schedule import Schedule
from gputrain.engine.training.skips import Skips
from gputrain.engine.training.stepper import Stepper
from gputrain.engine.training.supply import Supply
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.training.timing import Clock
from gputrain.engine.training.validate import Validation
from gputrain.engine.training.windows import Windows


@dataclass(slots=True)
class Parts:
    """See the module."""

    compute: Compute
    images: ImageSet
    """Those that are trained on."""
    task: Task
    flops: float | None
    """Operations of one image; None: they can't be counted."""
    growth: Growth
    clock: Clock
    stepper: Stepper
    supply: Supply
    validation: Validation | None
    schedule: Schedule
    skips: Skips
    meter: Meter
    windows: Windows


def assemble(
    config: RunConfig,
    ranks: Ranks,
    reporter: Reporter,
    control: Control,
    bad_images: BadImages,
    stack: contextlib.ExitStack,
) -> Parts:
    """Make all of it; `stack` closes the loaders. Raises BadInput, and StopRequested if asked to stop."""
    compute = device.set_up(config, reporter.notice, ranks.rank)
    ranks.use(compute.device)
    found = _data(config, ranks, reporter, control)
    images, task = found.train, found.task
    reporter.phase(Phase.BUILDING, config.model.model)
    network = model.build(config, task, compute)
    ranks.same_weights(network)
    if not ranks.speaks:
        # What a network draws on the way (dropout) is another on each rank.
        generators.seed(config.seed + ranks.rank)
    each = flops.flops_per_image(network, config.data.image_size, task.group)
    growth = flops.checked_growth(network, config, each, task.group)
    clock = Clock(compute)
    stepper = Stepper(network, config, compute, clock, reporter.notice, task.loss, ranks)
    control.raise_if_stopped()
    loaders = RunLoaders(stack, compute, reporter, bad_images, ranks)
    supply = Supply(loaders, images, config, compute, task, ranks)
    validation = None
    if found.val is not None:
        validation = Validation(
            loader=loaders.first(found.val, config, train=False),
            feed=Feed(config, compute, train=False, task=task),
            compute=device.for_validation(compute, config),
            task=task,
            control=control,
            reporter=reporter,
            bad_images=bad_images,
            config=config,
            ranks=ranks,
        )
    scaled = stepper.scaler.is_enabled()
    skips = Skips(reporter.notice, images.shown, scaled=scaled, ranks=ranks.count)
    meter = Meter(compute, skips)
    windows = Windows(reporter, supply.loader, compute, clock, meter, bad_images, ranks.count)
    schedule = Schedule(config, len(supply))
    return Parts(
        compute, images, task, each, growth, clock, stepper, supply, validation, schedule, skips, meter, windows
    )


def _data(config: RunConfig, ranks: Ranks, reporter: Reporter, control: Control) -> Data:
    """Rank 0 draws what is to be drawn, before the others look."""
    if not ranks.speaks:
        ranks.agree(())
    found = data.prepare(config, reporter, control)
    if ranks.speaks:
        ranks.agree(())
    return found
