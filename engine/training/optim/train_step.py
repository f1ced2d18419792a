"""Forward pass, backward pass and update of one network, in the arithmetic and memory that its device has."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import torch
from torch import nn

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.training.distributed.gradient_all_reduce import GradientAllReduce
from gputrain.engine.training.distributed.process_group import RankLostError, SingleProcess
from gputrain.engine.training.networks import torch_compile
from gputrain.engine.training.networks.gradient_checkpointing import checkpoint_blocks
from gputrain.engine.training.optim import optimizers
from gputrain.engine.training.optim.batchnorm_buffers import BatchNormBuffers
from gputrain.engine.training.optim.ema import Ema
from gputrain.engine.training.optim.nonfinite_gradients import NonFiniteGradientGuard, seed
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Loss
from gputrain.engine.training.transforms.device_transforms import PreparedBatch

Notice = Callable[[str, str], None]


class NoGpuMemoryError(RuntimeError):
    """Not even a part of a batch fits."""


class RepeatInParts(Exception):  # noqa: N818 - reads as what it asks for
    """The update has to be begun again; nothing is left of it."""


class Failure(IntEnum):
    """What became of an update's gradients; of several ranks' the largest counts."""

    NONE = 0
    REPEAT = 1
    """It has to be begun again."""
    MEMORY = 2
    """The device's memory was too small; it has to be begun again in smaller parts."""


def classify_failure(error: Exception) -> Failure:
    """What an exception of `TrainStep.backward` stands for."""
    return Failure.REPEAT if isinstance(error, RepeatInParts) else Failure.MEMORY


class TrainStep:
    """The network with all that changes it."""

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        compute: Compute,
        clock: StepClock,
        notice: Notice,
        loss: Loss,
        ranks: SingleProcess | None = None,
    ) -> None:
        """`ranks`: the processes that train it together; None: this one alone."""
        self.network = network
        self.optimizer = optimizers.make_optimizer(network, config)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.is_gpu and compute.precision == "fp16")
        # The average is copied first: a block that is recomputed holds on to its own module.
        self.ema = Ema(network, config.optim.ema_decay) if config.optim.ema_decay else None
        if config.speed.gradient_checkpointing and not checkpoint_blocks(network):
            notice("warning", f"gradient_checkpointing: {config.model.model} has no blocks to recompute: off")
        self.parts = 1
        """Into how many parts each batch is divided, for want of GPU memory."""
        self.grad_norm: torch.Tensor | None = None
        """The gradient's norm at the newest update, on the device; None without clipping."""
        self.skipped: torch.Tensor | None = None
        """Whether the newest update was skipped, on the device; None where none ever is."""
        self.compiled = config.speed.compile
        """Whether the network is compiled at present."""
        self._guard = NonFiniteGradientGuard(self.optimizer) if config.optim.nonfinite_loss == "skip" else None
        self._figures = BatchNormBuffers(network)
        if self._guard is not None and self._guard.waits and compute.is_gpu:
            notice("info", "nonfinite_loss=skip: without a fused optimizer each update waits for the GPU")
        self._config = config
        self._clock = clock
        self._compute = compute
        self._notice = notice
        self._criterion = loss
        self._one = torch.ones((), device=compute.device)
        self._forward: Callable[[torch.Tensor], torch.Tensor] = network
        self._tried: set[tuple[int, ...]] = set()
        """Parts and shapes of batches that the compiled network has computed: each new one is compiled anew."""
        self._backward_passes = 0
        """Batches whose gradients the present update has so far."""
        if config.speed.compile:
            self._forward = torch_compile.compile_network(network, config.speed, notice)
        self._graphs = compute.is_gpu and torch_compile.uses_cuda_graphs(config.speed)
        self._ranks = ranks or SingleProcess()
        self._mean = GradientAllReduce(network, self._ranks) if self._ranks.count > 1 else None
        self._losses: list[torch.Tensor] = []
        """Losses of the batches of the present update."""

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated: the average where there is one."""
        return self.network if self.ema is None else self.ema.network

    @property
    def loss_scale(self) -> torch.Tensor | None:
        """The present scale of the loss, on the device (reading it off the scaler would wait); None without one."""
        return self.scaler.scale(self._one) if self.scaler.is_enabled() else None

    def backward(self, batch: PreparedBatch, share: float, *, last: bool = True) -> torch.Tensor:
        """Add the gradients of `share` times the batch's mean loss; returns that loss, on the device.

        `last`: of its update; with several ranks the gradients are summed meanwhile, see `exchange`.
        Raises torch.OutOfMemoryError, after which `divide` is to be called, and Repeat.
        """
        shape = (self.parts, *batch.images.shape)
        share /= self._ranks.count
        if not self.compiled or shape in self._tried:
            loss = self._backward(batch, share, last=last)
        else:
            loss = self._first_of_its_shape(batch, share, last=last)
            self._tried.add(shape)
        self._backward_passes += 1
        self._losses.append(loss)
        return loss

    def exchange(self, *, failed: bool) -> None:
        """With several ranks: let the update's gradients be the means of all of them.

        With `failed`, and where another rank says so, they mean nothing, and `give_up` or `divide` is to be called.
        """
        if self._mean is not None:
            with self._clock.exchanging():
                self._mean.finish(failed=failed)

    def exchange_losses(self) -> None:
        """The same for the losses of the update's batches; to be called when no rank has failed."""
        with self._clock.exchanging():
            losses = torch.stack(self._losses) / self._ranks.count
            self._ranks.all_reduce_sum(losses).wait()
            for loss, mean in zip(self._losses, losses, strict=True):
                loss.copy_(mean)

    def _first_of_its_shape(self, batch: PreparedBatch, share: float, *, last: bool) -> torch.Tensor:
        try:
            return self._backward(batch, share, last=last)
        except (torch.OutOfMemoryError, RankLostError):
            raise
        except Exception as error:  # noqa: BLE001 - a compiler's failure can be of any type
            why = plain(f"{type(error).__name__}: {error}".splitlines()[0], 300)
        self._notice("warning", f"torch.compile failed, going on without it: {why}")
        self._forward, self.compiled, self._graphs = torch_compile.undo(self.network), False, False
        # What was sent to other ranks can't be taken back.
        begun = self._backward_passes > 0 or self._mean is not None
        self.give_up()
        if begun:
            raise RepeatInParts
        return self._backward(batch, share, last=last)

    def _backward(self, batch: PreparedBatch, share: float, *, last: bool) -> torch.Tensor:
        total = torch.zeros((), device=self._compute.device)
        self._figures.begin()
        if self._graphs:
            self._own_gradients()
        parts = list(batch.split(self.part_size(len(batch.targets))))
        for number, part in enumerate(parts, 1):
            weight = len(part.targets) / len(batch.targets)
            if self._graphs:
                # What the step before left in the graph's memory is no longer needed.
                torch.compiler.cudagraph_mark_step_begin()
            with self._clock.computing("forward"), self._compute.autocast():
                loss = self._loss(self._forward(part.images), part) * weight
            if self._mean is not None and last and number == len(parts):
                self._mean.arm()
            with self._clock.computing("backward"):
                scaled = self.scaler.scale(loss * share)
                scaled.backward(None if self._guard is None else seed(scaled))
                total += loss.detach()
        return total

    def _own_gradients(self) -> None:
        """Give the gradients memory of their own where they outlive one pass through CUDA graphs.

        Autograd otherwise takes the memory that the graph left them in, which the next pass writes to.
        """
        if self._config.optim.accumulation_steps == 1 and self.parts == 1 and self._config.speed.set_to_none:
            return
        for parameter in self.network.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _loss(self, outputs: torch.Tensor, batch: PreparedBatch) -> torch.Tensor:
        loss = self._criterion(outputs, batch.targets)
        if batch.partners is None:
            return loss
        return loss * batch.share + self._criterion(outputs, batch.partners) * (1 - batch.share)

    def update(self, lr: float, number: int) -> None:
        """Update the weights from the gradients, as update `number` (from 1) of the run.

        Raises torch.OutOfMemoryError if nothing was changed, and RuntimeError where memory runs out later than that.
        """
        with self._clock.computing("update"):
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = lr
            before, states = self._writes(), len(self.optimizer.state)
            try:
                self._update()
                if self.ema is not None:
                    self.ema.update(self.network, number, self.skipped)
            except torch.OutOfMemoryError as error:
                if self._writes() == before and self._mean is None:
                    # What was made in this update, the last of it perhaps not whole.
                    for parameter in list(self.optimizer.state)[states:]:
                        del self.optimizer.state[parameter]
                    raise
                raise RuntimeError(
                    "the GPU's memory ran out in the midst of an update, which can't be repeated; a smaller model, "
                    "fused_optimizer=true, or an optimizer with less state (sgd) need less"
                ) from error
            self.discard()

    def _writes(self) -> int:
        """Writes to the weights and to what the optimizer keeps of the first of each group, as autograd counts them.

        State that the update makes begins at 0, as if it had been there.
        """
        count = 0
        for group in self.optimizer.param_groups:
            count += sum(parameter._version for parameter in group["params"])
            for first in group["params"][:1]:
                kept = self.optimizer.state.get(first, {}).values()
                count += sum(value._version for value in kept if isinstance(value, torch.Tensor))
        return count

    def _update(self) -> None:
        if self._config.optim.clip_grad_norm or self._guard is not None:
            self.scaler.unscale_(self.optimizer)
        if self._config.optim.clip_grad_norm:
            self.grad_norm = nn.utils.clip_grad_norm_(self.network.parameters(), self._config.optim.clip_grad_norm)
        if self._guard is None:
            self.scaler.step(self.optimizer)
        else:
            # In fp16 too: the scaler, which found the same when it unscaled, only has to lower its scale.
            self.skipped = self._guard.judge(self.grad_norm)
            self._guard.update(self.skipped)
            self._figures.put_back(self.skipped)
        self.scaler.update()

    def discard(self) -> None:
        """Forget the gradients."""
        self._figures.forget()
        self._backward_passes = 0
        self._losses.clear()
        self.optimizer.zero_grad(set_to_none=self._config.speed.set_to_none)

    def give_up(self) -> None:
        """Leave nothing of an update that failed."""
        self._figures.put_back(torch.ones((), dtype=torch.bool, device=self._compute.device))
        if self.scaler.is_enabled():
            # It refuses to unscale twice in one update.
            self.scaler._per_optimizer_states.clear()
        self._figures.forget()
        self._backward_passes = 0
        self._losses.clear()
        self.optimizer.zero_grad()

    def part_size(self, batch_size: int) -> int:
        """Samples of a part of a batch of so many."""
        return math.ceil(batch_size / self.parts)

    def divide(self, step: int) -> None:
        """Use half the memory for a batch from now on, memory having run out in the step after `step`.

        To be called when whatever failed has been let go. Raises NoGpuMemoryError if nothing is left to divide.
        """
        self.give_up()
        if self._compute.is_gpu:
            torch.cuda.empty_cache()
        if not self._config.speed.oom_fallback or self.parts >= self._config.data.batch_size:
            raise NoGpuMemoryError(
                f"the GPU's memory is too small for {self._in_words()}; a smaller batch_size, model or image_size, or "
                "gradient_checkpointing=true, need less"
            )
        self.parts *= 2
        self._notice(
            "warning",
            f"GPU memory ran out at step {step + 1}: each batch is computed in {self._in_words()} from now on; "
            "an update still sees as many",
        )

    def _in_words(self) -> str:
        return f"{self.parts} parts of {self.part_size(self._config.data.batch_size)} images"
