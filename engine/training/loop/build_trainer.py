"""Builds everything a PyTorch run trains with: data, network, loaders, optimizer, schedule, meters."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_path
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.progressive_resizing import ImageSizeSchedule
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Phase
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop.lr_schedule import LRSchedule
from gputrain.engine.shared_loop.nonfinite_loss import NonFinitePolicy
from gputrain.engine.training.distributed.ddp_network import synchronised_batchnorm
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.distributed.run_node_check import measure_exchange
from gputrain.engine.training.loader.data_pipeline import DataPipeline
from gputrain.engine.training.loader.run_loaders import RunLoaders
from gputrain.engine.training.loop.torch_step_windows import StepWindows
from gputrain.engine.training.loop.validation import Validation
from gputrain.engine.training.models import create_model
from gputrain.engine.training.networks import flops
from gputrain.engine.training.optim.loss_meter import LossMeter
from gputrain.engine.training.optim.train_step import TrainStep
from gputrain.engine.training.readers import reader_registry
from gputrain.engine.training.readers.reader import OpenedDataset
from gputrain.engine.training.runtime import device, rng_state
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Task
from gputrain.engine.training.transforms.device_transforms import DevicePrefetcher


@dataclass(slots=True)
class TrainerParts:
    """Result of `build_parts`."""

    compute: Compute
    images: ImageSet
    """Training images."""
    task: Task
    flops: float | None
    """FLOPs of one image; None: they can't be counted."""
    growth: ImageSizeSchedule
    clock: StepClock
    stepper: TrainStep
    supply: DataPipeline
    validation: Validation | None
    schedule: LRSchedule
    nonfinite: NonFinitePolicy
    meter: LossMeter
    windows: StepWindows


def build_parts(
    config: RunConfig,
    ranks: SingleProcess,
    reporter: EventReporter,
    control: TrainerControl,
    bad_images: BadImages,
    stack: contextlib.ExitStack,
) -> TrainerParts:
    """Build all parts; `stack` closes the loaders. Raises BadInput, and StopRequested if a stop was requested."""
    compute = device.set_up(config, reporter.notice, ranks.local_rank, ranks.local_count)
    ranks.use(compute.device)
    if ranks.launched:
        measure_exchange(ranks, compute.device, reporter.notice)
    found = _data(config, ranks, reporter, control)
    images, task = found.train, found.task
    reporter.phase(Phase.BUILDING, config.model.model)
    network = create_model.build(config, task, compute, reporter.notice)
    if config.distributed.sync_batchnorm and ranks.count > 1:
        network = synchronised_batchnorm(network, ranks)
    if not ranks.is_main_process:
        # Random numbers of the network (dropout) differ between ranks.
        rng_state.seed(config.seed + ranks.rank)
    each = flops.flops_per_image(network, config.data.image_size, task.group)
    growth = flops.check_image_sizes(network, config, each, task.group)
    clock = StepClock(compute, ranks.board)
    stepper = TrainStep(network, config, compute, clock, reporter.notice, task.loss, ranks)
    control.raise_if_stopped()
    loaders = RunLoaders(stack, compute, reporter, bad_images, ranks)
    supply = DataPipeline(loaders, images, config, compute, task, ranks)
    validation = None
    if found.val is not None:
        validation = Validation(
            loader=loaders.first(found.val, config, train=False),
            feed=DevicePrefetcher(config, compute, train=False, task=task),
            compute=device.for_validation(compute, config),
            task=task,
            control=control,
            reporter=reporter,
            bad_images=bad_images,
            config=config,
            ranks=ranks,
        )
    scaled = stepper.scaler.is_enabled()
    nonfinite = NonFinitePolicy(reporter.notice, images.shown, scaled=scaled, ranks=ranks.count)
    meter = LossMeter(compute, nonfinite)
    windows = StepWindows(reporter, supply.loader, compute, clock, meter, stepper, bad_images, ranks.count)
    schedule = LRSchedule(config, len(supply))
    return TrainerParts(
        compute, images, task, each, growth, clock, stepper, supply, validation, schedule, nonfinite, meter, windows
    )


def _data(config: RunConfig, ranks: SingleProcess, reporter: EventReporter, control: TrainerControl) -> OpenedDataset:
    """Open the data set. Rank 0 goes first, because it may have to draw the demo images."""
    if not ranks.is_main_process:
        ranks.all_reduce_max(())
    found = reader_registry.open_dataset(config, reporter, control)
    if ranks.is_main_process:
        ranks.all_reduce_max(())
    require_same_images(found.train, config, ranks)
    return found


def require_same_images(images: ImageSet, config: RunConfig, ranks: SingleProcess) -> None:
    """Raises BadInput on all ranks if they have other images; all call it.

    For data by a name or a URL, of which each machine has its own copy: the check of the nodes compares folders.
    """
    if ranks.count == 1 or images.shards is None or is_path(config.data.data_dir):
        return
    found = ranks.gather((platform.node(), images.shards.digest()))
    first = found[0]
    other = next((one for one in found if one[1] != first[1]), None)
    if other is not None:
        one, two = (plain(host, 80) for host, _ in (other, first))
        text = f"data_dir: {one} has another version of {config.data.data_dir} than {two}"
        raise BadInput(f"{text}: all machines need the same one")
