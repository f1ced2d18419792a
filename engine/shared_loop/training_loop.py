"""The training loop that both engines share: epochs, validation, checkpoints, pause and stop.

Start reading at `TrainingLoop.train`. An engine adds what it trains with (`_build`) and how an epoch runs
(`_train_epoch`).
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from gputrain.engine.checkpointing.checkpoint_saver import CheckpointSaver, Kind
from gputrain.engine.checkpointing.resume_position import ResumePosition, check_continuation
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import flatten
from gputrain.engine.datasets.bad_image_list import BadImages
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Outcome, Phase, RunEnded
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.shared_loop import epoch_end
from gputrain.engine.shared_loop.epoch_loss import EpochLoss
from gputrain.engine.shared_loop.lr_schedule import LRSchedule
from gputrain.engine.shared_loop.nonfinite_loss import NonFinitePolicy


class TrainingLoop(ABC):
    """One run on one device."""

    # Set by `_build`.
    _images: ImageSet
    _schedule: LRSchedule
    _nonfinite: NonFinitePolicy
    _epoch_loss: EpochLoss
    _metric: str
    """The validation metric that selects the best checkpoint."""
    _validates: bool
    """Whether the run has validation images."""

    def __init__(
        self,
        config: RunConfig,
        reporter: EventReporter,
        control: TrainerControl,
        bad_images: BadImages,
        saver: CheckpointSaver,
    ) -> None:
        self._config, self._reporter, self._control = config, reporter, control
        self._bad_images, self._saver = bad_images, saver
        self._position = ResumePosition()
        self._lr = 0.0
        self._early_stop = ""
        """Reason of an early stop; else empty."""

    @property
    def step(self) -> int:
        """Steps done since the start of the run."""
        return self._position.step

    def train(self) -> RunEnded:
        """Train to the last step, or until a stop is requested. Raises BadInput, and any error of the training."""
        with contextlib.ExitStack() as stack:
            # A checkpoint that is being written is finished even if the training fails.
            stack.callback(self._saver.finish)
            self._build(stack)
            self._train_epochs()
            if self._control.stop != "now":
                self._save("final")
            self._leave()
        if self._control.stop:
            return self._control.ended(self.step)
        skipped = f"; {self._nonfinite.total} updates were skipped" if self._nonfinite.total else ""
        reason = (self._early_stop or "all steps are done") + skipped
        return RunEnded(outcome=Outcome.FINISHED, reason=reason, step=self.step)

    # What an engine adds.

    @abstractmethod
    def _build(self, stack: contextlib.ExitStack) -> None:
        """Load the data, build the network and everything else that training needs; resume. `stack` closes it."""

    @abstractmethod
    def _load_checkpoint(self, warn: Callable[[str], None]) -> dict[str, Any]:
        """Content of the checkpoint that the run resumes. Raises BadInput."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> ResumePosition:
        """Copy a checkpoint's content into network and optimizer. Raises BadInput."""

    @abstractmethod
    def _compile_key(self) -> str | None:
        """Key of the compilation that the next epoch starts with, see `EventReporter.phase`; None: no compilation."""

    @abstractmethod
    def _train_epoch(self) -> None:
        """Train on the rest of the present epoch. Leaves `position.batch` at 0 if the epoch is complete."""

    @abstractmethod
    def _validate(self) -> bool:
        """Validate the model; returns whether it is the best so far. Raises NonFiniteLossError."""

    @abstractmethod
    def _fetch_losses(self) -> None:
        """Wait for the losses that are still on the device. Raises NonFiniteLossError."""

    @abstractmethod
    def _prepare_state(self) -> Callable[[], dict[str, Any]]:
        """A function that returns the content of a checkpoint of the present position."""

    @abstractmethod
    def _skip(self) -> None:
        """Leave the time since the last step out of all rates: it was not spent on training."""

    def _leave(self) -> None:  # noqa: B027 - only an engine with several ranks has to do something
        """Called after the last checkpoint of a run."""

    # The loop.

    def _resume(self) -> None:
        def warn(text: str) -> None:
            self._reporter.notice("warning", text)

        state = self._load_checkpoint(warn)
        for text in check_continuation(state, flatten(self._config), self._images.classes, len(self._images)):
            warn(text)
        self._position = self._restore(state)
        self._epoch_loss.sum, self._epoch_loss.steps = self._position.loss_sum, self._position.loss_steps
        self._nonfinite.total, self._nonfinite.in_a_row = self._position.skips, self._position.skips_in_a_row
        self._saver.go_on_from(self.step)
        where = f"step {self.step} (epoch {self._position.epoch + 1})"
        self._reporter.notice("info", f"going on from {where} of {self._config.resume_from}")

    def _train_epochs(self) -> None:
        if self._position.unvalidated:
            self._close_epoch()
        while not self._done():
            if (key := self._compile_key()) is not None:
                self._reporter.phase(Phase.COMPILING, key=key)
            else:
                self._reporter.phase(Phase.WARMING_UP)
            began, first_image = time.perf_counter(), self._position.images
            self._train_epoch()
            if self._position.batch:
                # In mid-epoch: a stop was requested, or max_steps is reached.
                return
            self._end_epoch(time.perf_counter() - began, self._position.images - first_image)

    def _done(self) -> bool:
        return bool(self._control.stop or self._early_stop) or self.step >= self._schedule.total_steps

    def _save_if_due(self) -> None:
        """Write a checkpoint in mid-epoch if one was requested or ``checkpoint_steps`` says so."""
        if self._control.checkpoint:
            self._control.checkpoint = False
            self._save_within("requested")
        elif epoch_end.mid_epoch_checkpoint_due(self._config.checkpoint, self.step, self._saver.saved_step):
            self._save_within("last")

    def _end_epoch(self, seconds: float, images: int) -> None:
        where = self._position
        self._fetch_losses()
        epoch_end.end_epoch(self._reporter, where, seconds, images, self._epoch_loss.take_mean())
        due = epoch_end.validation_due(self._config.checkpoint, where, self._schedule.total_steps)
        where.unvalidated = self._validates and due
        self._close_epoch()

    def _close_epoch(self) -> None:
        """Validate the model if that is due, and save it. A validation that a stop interrupts is done at resume."""
        where, settings = self._position, self._config.checkpoint
        best = self._validate() if self._validates and where.unvalidated else False
        self._early_stop = epoch_end.early_stop_reason(settings, where, self._metric)
        if kind := epoch_end.checkpoint_due(settings, where, best=best, stopped=bool(self._control.stop)):
            self._save(kind)

    def _save_within(self, kind: Kind) -> None:
        self._save(kind)
        self._reporter.phase(Phase.TRAINING)
        self._skip()

    def _save(self, kind: Kind) -> None:
        where = self._position
        self._fetch_losses()
        where.loss_sum, where.loss_steps = self._epoch_loss.sum, self._epoch_loss.steps
        where.skips, where.skips_in_a_row = self._nonfinite.total, self._nonfinite.in_a_row
        began = time.perf_counter()
        self._reporter.phase(Phase.SAVING)
        self._saver.save(kind, where, self._prepare_state(), began)
