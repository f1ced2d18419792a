"""Training step: forward pass, backward pass and optimizer update, with AMP, compilation and OOM fallback."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.training.distributed.ddp_network import DataParallel
from gputrain.engine.training.distributed.parallel_network import parallel_network
from gputrain.engine.training.distributed.process_group import RankLostError, SingleProcess
from gputrain.engine.training.networks import torch_compile
from gputrain.engine.training.networks.blocks import blocks_of
from gputrain.engine.training.networks.gradient_checkpointing import checkpoint_blocks
from gputrain.engine.training.optim import optimizers
from gputrain.engine.training.optim.batchnorm_buffers import BatchNormBuffers
from gputrain.engine.training.optim.clip_gradients import clip_gradients
from gputrain.engine.training.optim.ema import Ema
from gputrain.engine.training.optim.nonfinite_gradients import NonFiniteGradientGuard, initial_gradient
from gputrain.engine.training.optim.step_failures import NoGpuMemoryError, RepeatInParts
from gputrain.engine.training.runtime.device import Compute
from gputrain.engine.training.runtime.step_timing import StepClock
from gputrain.engine.training.tasks.task import Loss
from gputrain.engine.training.transforms.device_transforms import PreparedBatch

Notice = Callable[[str, str], None]
Forward = Callable[[torch.Tensor], torch.Tensor]


class TrainStep:
    """Network, optimizer, gradient scaler and EMA."""

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
        """`ranks`: the process group; None: a single process."""
        self.network = network
        self._ranks = ranks or SingleProcess()
        self._parallel = parallel_network(network, config.distributed, self._ranks, clock.computed)
        self.sharded = None if isinstance(self._parallel, DataParallel) else self._parallel
        """With ``sharding: full``: the division of the weights. All ranks then pass through every step together."""
        # Copied before the blocks are wrapped for gradient checkpointing, which binds them to their modules.
        self.ema = Ema(network, config.optim.ema_decay) if config.optim.ema_decay else None
        if self.sharded is not None:
            others = [self.ema.network] if self.ema is not None else []
            self.sharded.divide(others, blocks_of, compute.autocast_dtype)
        self.optimizer = optimizers.make_optimizer(network, config, self._ranks)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.is_gpu and compute.precision == "fp16")
        if config.speed.gradient_checkpointing and not checkpoint_blocks(network):
            notice("warning", f"gradient_checkpointing: {config.model.model} has no blocks to recompute: off")
        self.parts = 1
        """Number of parts each batch is split into; doubled when GPU memory runs out."""
        self.grad_norm: torch.Tensor | None = None
        """Gradient norm of the newest update, on the device; None without clipping."""
        self.skipped: torch.Tensor | None = None
        """Whether the newest update was skipped, on the device; None if ``nonfinite_loss`` is not ``skip``."""
        self.compiled = config.speed.compile
        """Whether torch.compile is in effect; False after a failed compilation."""
        self._guard = NonFiniteGradientGuard(self.optimizer) if config.optim.nonfinite_loss == "skip" else None
        self._buffers = BatchNormBuffers(network)
        if self._guard is not None and self._guard.waits and compute.is_gpu:
            notice("info", "nonfinite_loss=skip: without a fused optimizer each update waits for the GPU")
        self._config = config
        self._clock = clock
        self._compute = compute
        self._notice = notice
        self._criterion = loss
        self._one = torch.ones((), device=compute.device)
        self._forward: Forward = network
        self._tried: set[tuple[int, ...]] = set()
        """Parts and batch shapes seen so far; torch.compile compiles each new one."""
        self._backward_passes = 0
        """Backward passes of the present update."""
        if config.speed.compile:
            self._forward = torch_compile.compile_network(network, config.speed, notice)
        self._graphs = compute.is_gpu and torch_compile.uses_cuda_graphs(config.speed)
        if self._parallel is not None:
            self._parallel.use(self._forward)
        self._losses: list[torch.Tensor] = []
        """Losses of the batches of the present update."""

    @property
    def evaluated(self) -> nn.Module:
        """The network for validation: the EMA if there is one; see `gathered`."""
        return self.network if self.ema is None else self.ema.network

    def gathered(self) -> contextlib.AbstractContextManager[nn.Module]:
        """`evaluated` with all its weights in this process; all ranks enter together."""
        if self.sharded is None:
            return contextlib.nullcontext(self.evaluated)
        return self.sharded.gathered(self.evaluated)

    @property
    def loss_scale(self) -> torch.Tensor | None:
        """The loss scale, on the device (reading it from the scaler would wait); None without a scaler."""
        return self.scaler.scale(self._one) if self.scaler.is_enabled() else None

    def backward(self, batch: PreparedBatch, share: float, *, last: bool = True) -> torch.Tensor:
        """Add the gradients of `share` times the batch's mean loss; returns that loss, on the device.

        With several ranks the gradients of an update are the means over the ranks.
        `last`: the last batch of its update; with several ranks the gradients are reduced meanwhile, see `exchange`.
        Raises torch.OutOfMemoryError (call `divide` then) and RepeatInParts.
        """
        shape = (self.parts, *batch.images.shape)
        if not self.compiled or shape in self._tried:
            loss = self._backward(batch, share, last=last)
        else:
            loss = self._first_of_its_shape(batch, share, last=last)
            self._tried.add(shape)
        self._backward_passes += 1
        self._losses.append(loss)
        return loss

    def exchange(self) -> None:
        """With several ranks: finish the all-reduces, after which the gradients are the means over the ranks.

        If this or another rank has failed, they are invalid: call `give_up` or `divide`.
        """
        if self._parallel is not None:
            with self._clock.exchanging():
                self._parallel.finish()

    def no_batch(self) -> torch.Tensor:
        """For the last step of an epoch if it has no batch for this rank; returns a loss for `exchange_losses`."""
        self._buffers.begin()
        if self.sharded is not None:
            with self._compute.autocast():
                self.sharded.pass_without_batch(self.part_size)
        self._losses.append(torch.zeros((), device=self._compute.device))
        return self._losses[-1]

    def exchange_losses(self, batches: Sequence[int]) -> None:
        """All-reduce the losses of the update's steps, of so many `batches` each. Only if no rank has failed."""
        with self._clock.exchanging():
            losses = torch.stack(self._losses)
            # The usual case needs no copy to the device.
            alike = len(set(batches)) == 1
            losses /= batches[0] if alike else torch.tensor(batches, device=losses.device)
            self._ranks.all_reduce_sum(losses).wait()
            for loss, mean in zip(self._losses, losses, strict=True):
                loss.copy_(mean)

    def _first_of_its_shape(self, batch: PreparedBatch, share: float, *, last: bool) -> torch.Tensor:
        try:
            return self._backward(batch, share, last=last)
        except (torch.OutOfMemoryError, RankLostError):
            raise
        except Exception as error:  # A compiler's failure can be of any type.
            why = plain(f"{type(error).__name__}: {error}".splitlines()[0], 300)
            if self.sharded is not None:
                fix = "with sharding=full the step can't be repeated; use compile=false"
                raise RuntimeError(f"torch.compile failed: {why}; {fix}") from error
        self._notice("warning", f"torch.compile failed, going on without it: {why}")
        self._forward, self.compiled, self._graphs = torch_compile.undo(self.network), False, False
        if self._parallel is not None:
            self._parallel.use(self._forward)
        # Gradients already sent to other ranks can't be taken back.
        begun = self._backward_passes > 0 or self._parallel is not None
        self.give_up()
        if begun:
            raise RepeatInParts
        return self._backward(batch, share, last=last)

    def _backward(self, batch: PreparedBatch, share: float, *, last: bool) -> torch.Tensor:
        total = torch.zeros((), device=self._compute.device)
        if self.sharded is not None:
            self.sharded.agree_on_shape(batch.images.shape)
        self._buffers.begin()
        if self._graphs:
            self._allocate_gradients()
        parts = list(batch.split(self.part_size(len(batch.targets))))
        for number, part in enumerate(parts, 1):
            weight = len(part.targets) / len(batch.targets)
            if self._graphs:
                # The outputs of the last step in the graph's memory are no longer needed.
                torch.compiler.cudagraph_mark_step_begin()
            with self._part_of_update(last=last and number == len(parts)) as forward:
                with self._clock.computing("forward"), self._compute.autocast():
                    loss = self._loss(forward(part.images), part) * weight
                with self._clock.computing("backward"):
                    scaled = self.scaler.scale(loss * share)
                    scaled.backward(None if self._guard is None else initial_gradient(scaled))
                    total += loss.detach()
        return total

    @contextlib.contextmanager
    def _part_of_update(self, *, last: bool) -> Iterator[Forward]:
        """The forward pass for a part of a batch; `last`: the last part of its update."""
        if self._parallel is None:
            yield self._forward
            return
        with self._parallel.last_pass() if last else self._parallel.accumulating():
            yield self._parallel.forward

    def _allocate_gradients(self) -> None:
        """Allocate gradients outside the CUDA graph's memory if they outlive one replay.

        Autograd otherwise keeps them in the graph's memory, which the next replay overwrites.
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
        """Update the weights from the gradients; `number`: the update's number in the run, from 1.

        Raises torch.OutOfMemoryError if nothing was changed yet, and RuntimeError if memory runs out after that.
        """
        with self._clock.computing("update"):
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = lr
            # Several ranks can't repeat an update that one of them has begun.
            repeatable = self._parallel is None
            before, states = optimizers.writes(self.optimizer) if repeatable else 0, len(self.optimizer.state)
            try:
                self._update()
                if self.ema is not None:
                    self.ema.update(self.network, number, self.skipped)
            except torch.OutOfMemoryError as error:
                if repeatable and optimizers.writes(self.optimizer) == before:
                    # Optimizer state made in this update; the last entry may be incomplete.
                    for parameter in list(self.optimizer.state)[states:]:
                        del self.optimizer.state[parameter]
                    raise
                raise RuntimeError(
                    "GPU memory ran out during an optimizer update, which can't be repeated; use a smaller model, "
                    "fused_optimizer=true, or an optimizer with less state (sgd)"
                ) from error
            self.discard()

    def _update(self) -> None:
        if self._config.optim.clip_grad_norm or self._guard is not None:
            self.scaler.unscale_(self.optimizer)
        if self._config.optim.clip_grad_norm:
            self.grad_norm = clip_gradients(self.network, self._config.optim.clip_grad_norm)
        if self._guard is None:
            self.scaler.step(self.optimizer)
        else:
            # In fp16 too: the scaler found the same while unscaling and only has to lower its scale.
            self.skipped = self._guard.should_skip(self.grad_norm)
            self._guard.update(self.skipped)
            self._buffers.put_back(self.skipped)
        self.scaler.update()

    def discard(self) -> None:
        """Drop the gradients after an update."""
        self._buffers.forget()
        self._backward_passes = 0
        self._losses.clear()
        self.optimizer.zero_grad(set_to_none=self._config.speed.set_to_none)

    def give_up(self) -> None:
        """Discard an update that failed: gradients, buffers, scaler state."""
        self._buffers.put_back(torch.ones((), dtype=torch.bool, device=self._compute.device))
        if self.scaler.is_enabled():
            # The scaler refuses to unscale twice in one update.
            self.scaler._per_optimizer_states.clear()
        self._buffers.forget()
        self._backward_passes = 0
        self._losses.clear()
        self.optimizer.zero_grad()

    def part_size(self, batch_size: int) -> int:
        """Samples in one part of a batch of `batch_size`."""
        return math.ceil(batch_size / self.parts)

    def divide(self, step: int) -> None:
        """Compute each batch in twice as many parts, after memory ran out in the step after `step`.

        Call it when the failed tensors are released. Raises NoGpuMemoryError if the parts can't get smaller.
        """
        self.give_up()
        if self._compute.is_gpu:
            torch.cuda.empty_cache()
        if not self._config.speed.oom_fallback or self.parts >= self._config.data.batch_size:
            raise NoGpuMemoryError(
                f"GPU memory is too small for {self._in_words()}; use a smaller batch_size, model or image_size, or "
                "gradient_checkpointing=true"
            )
        self.parts *= 2
        self._notice(
            "warning",
            f"GPU memory ran out at step {step + 1}: each batch is computed in {self._in_words()} from now on; "
            "the update still uses the whole batch",
        )

    def _in_words(self) -> str:
        return f"{self.parts} parts of {self.part_size(self._config.data.batch_size)} images"
