"""Hooks of backward passes, optimizers and GradScaler: when an update is done, and which were skipped."""

from __future__ import annotations

import sys
import threading
from typing import Any

from . import layout
from .fetches import get_ident
from .page import Page, Probe, hide_frame
from .steps import DONE, FETCHED, INSIDE, ODD, Steps, clock


class OptimizerHooks:
    """Installed into ``torch.optim.optimizer``, ``torch.autograd`` and ``torch.amp.grad_scaler``."""

    def __init__(self, probe: Probe, steps: Steps) -> None:
        self._probe = probe
        self._steps = steps

    def install_optimizer(self, module: Any) -> None:
        """torch calls a global hook after every step of every optimizer, compiled or not."""
        probe, off, steps = self._probe, self._probe.off, self._steps

        def after_step(optimizer: Any, _args: Any, _kwargs: Any) -> None:
            try:
                if steps.stage == DONE and id(optimizer) == steps.optimizer:
                    steps.end_usual(clock())
                    return
                if "optimizer" in off:
                    return
                page = probe.page or probe.trainer_page()
                if page is not None:
                    if not steps.optimizer_seen:
                        steps.optimizer_seen = True
                        page.slots[layout.OPTIMIZER_SEEN] = 1.0
                        _describe(page, optimizer)
                    steps.updated(page, clock(), optimizer)
            except Exception as error:  # noqa: BLE001 - the script comes first
                steps.stage = ODD
                probe.failed("optimizer", error)

        module.register_optimizer_step_post_hook(after_step)

    def install_backward(self, module: Any) -> None:
        """``torch.autograd.backward``, which `Tensor.backward` calls: torch gives no hook around a whole pass."""
        original = module.backward
        probe, off, steps = self._probe, self._probe.off, self._steps
        inside: set[int] = set()
        """Threads that are in a pass; each may train a model of its own."""

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            thread = get_ident()
            if (inside and (thread in inside or _is_torchs(thread))) or "backward" in off:
                # Activation checkpointing begins further passes within one.
                return original(tensors, *args, **kwargs)
            usual = steps.stage == FETCHED and thread == steps.thread
            if usual:
                steps.stage = INSIDE
            begun = clock()
            inside.add(thread)
            try:
                result = original(tensors, *args, **kwargs)
            except BaseException as error:
                if usual and steps.stage == INSIDE:
                    steps.stage = FETCHED
                hide_frame(error)
                raise
            finally:
                inside.discard(thread)
            if usual and steps.stage == INSIDE:
                steps.begun, steps.ended, steps.stage = begun, clock(), DONE
                return result
            try:
                page = probe.page or probe.trainer_page()
                if page is not None:
                    loss = tensors[0] if isinstance(tensors, (list, tuple)) else tensors
                    steps.backward(page, begun, clock(), loss)
            except Exception as error:  # noqa: BLE001 - the script comes first
                probe.failed("backward", error)
            return result

        _look_like(backward, original)
        module.backward = backward

    def install_scaler(self, module: Any) -> None:
        """A GradScaler that finds infinite gradients skips the optimizer's step, which then is no update.

        It is in ``torch.cuda.amp`` up to torch 2.2; later one there inherits the step of ``torch.amp``.
        """
        kind = module.GradScaler
        if "step" not in vars(kind):
            return
        original, scale_original = kind.step, kind.scale
        probe, steps = self._probe, self._steps

        def scale(scaler: Any, outputs: Any) -> Any:
            try:
                result = scale_original(scaler, outputs)
            except BaseException as error:
                hide_frame(error)
                raise
            if "scaler" not in probe.off:
                try:
                    steps.losses.scaled(outputs, result)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("scaler", error)
            return result

        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            page, before = probe.page, steps.updates
            try:
                result = original(scaler, optimizer, *args, **kwargs)
            except BaseException as error:
                hide_frame(error)
                raise
            if page is not None and "scaler" not in probe.off:
                try:
                    if scaler.is_enabled():
                        self._count_skip(page, scaler, optimizer, before)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("scaler", error)
            return result

        _look_like(step, original)
        _look_like(scale, scale_original)
        kind.step, kind.scale = step, scale

    def _count_skip(self, page: Page, scaler: Any, optimizer: Any, before: float) -> None:
        slots = page.slots
        if self._steps.updates == before:
            slots[layout.SKIPPED] += 1
        elif _found_infinite(scaler, optimizer):
            # A fused optimizer's step is called in any case and does nothing.
            slots[layout.SKIPPED] += 1
            self._steps.retract(page)


def _found_infinite(scaler: Any, optimizer: Any) -> bool:
    """Whether the gradients were infinite, as far as that is known without waiting for a device."""
    found = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
    return any(one.device.type == "cpu" and one.item() > 0 for one in found)


def _is_torchs(thread: int) -> bool:
    """Whether a thread is none of Python's, as those in which torch computes the gradients of a GPU."""
    return not any(one.ident == thread and not one.name.startswith("Dummy-") for one in threading.enumerate())


def _look_like(wrapper: Any, original: Any) -> None:
    wrapper.__name__, wrapper.__qualname__ = original.__name__, original.__qualname__
    wrapper.__module__, wrapper.__doc__ = original.__module__, original.__doc__
    wrapper.__wrapped__ = original


def _describe(page: Page, optimizer: Any) -> None:
    """The first optimizer that makes an update: what it trains, and where."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    first = parameters[0] if parameters else None
    torch = sys.modules["torch"]
    page.say(
        kind="optimizer",
        type=type(optimizer).__name__,
        parameters=sum(one.numel() for one in parameters),
        device=str(first.device) if first is not None else "",
        dtype=str(first.dtype) if first is not None else "",
        torch=str(torch.__version__),
        cuda=str(getattr(torch.version, "cuda", None) or ""),
    )
