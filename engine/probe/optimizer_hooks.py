"""Hooks of backward passes, optimizers and GradScaler: when an update is done, and which were skipped."""

from __future__ import annotations

import sys
from typing import Any

from . import layout
from .page import Page, Probe
from .steps import Steps, clock


class OptimizerHooks:
    """Installed into ``torch.optim.optimizer``, ``torch._tensor`` and ``torch.amp.grad_scaler``."""

    def __init__(self, probe: Probe, steps: Steps) -> None:
        self._probe = probe
        self._steps = steps

    def install_optimizer(self, module: Any) -> None:
        """torch calls a global hook after every step of every optimizer, compiled or not."""
        probe, steps = self._probe, self._steps

        def after_step(optimizer: Any, _args: Any, _kwargs: Any) -> None:
            if "optimizer" in probe.off:
                return
            try:
                page = probe.trainer_page()
                if page is not None:
                    if not page.slots[layout.OPTIMIZER_SEEN]:
                        page.slots[layout.OPTIMIZER_SEEN] = 1.0
                        _describe(page, optimizer)
                    steps.updated(page, clock(), optimizer)
            except Exception as error:  # noqa: BLE001 - the script comes first
                probe.failed("optimizer", error)

        module.register_optimizer_step_post_hook(after_step)

    def install_backward(self, module: Any) -> None:
        """`torch.Tensor.backward`: torch gives no hook around a whole backward pass."""
        original = module.Tensor.backward
        probe, steps = self._probe, self._steps

        def backward(
            self: Any, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
        ) -> Any:
            result = original(self, gradient, retain_graph, create_graph, inputs)
            if "backward" not in probe.off:
                try:
                    page = probe.trainer_page()
                    if page is not None:
                        steps.backward(page, clock(), self)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("backward", error)
            return result

        backward.__doc__ = original.__doc__
        backward.__wrapped__ = original  # type: ignore[attr-defined]
        module.Tensor.backward = backward

    def install_scaler(self, module: Any) -> None:
        """A GradScaler that finds infinite gradients skips the optimizer's step, which then is no update.

        It is in ``torch.cuda.amp`` up to torch 2.2; later one there inherits the step of ``torch.amp``.
        """
        if "step" not in vars(module.GradScaler):
            return
        original = module.GradScaler.step
        probe = self._probe

        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            page = probe.page
            before = page.slots[layout.UPDATES] if page is not None else 0.0
            result = original(scaler, optimizer, *args, **kwargs)
            if page is not None and "scaler" not in probe.off:
                try:
                    if page.slots[layout.UPDATES] == before and scaler.is_enabled():
                        page.slots[layout.SKIPPED] += 1
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("scaler", error)
            return result

        module.GradScaler.step = step


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
