"""LAMB optimizer: Adam with a trust ratio per layer, for very large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

_EPSILON = 1e-6


class Lamb(Optimizer):
    """Algorithm 2 of You et al. 2020 (arXiv:1904.00962), over lists of tensors and without a host synchronisation.

    The trust ratio is |weights| / |update|, 1 where either is 0. Groups without weight decay (norms and biases) keep a
    ratio of 1, as in the authors' code.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float = _EPSILON
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients; `closure` recomputes them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._update(group, weights)
        return loss

    def _update(self, group: dict[str, Any], weights: list[torch.Tensor]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [p.grad for p in weights if p.grad is not None]
        first, second, number = self._moments(weights)
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        update = torch._foreach_div(second, 1 - beta2**number)
        torch._foreach_sqrt_(update)
        torch._foreach_add_(update, group["eps"])
        update = torch._foreach_div(first, update)
        torch._foreach_mul_(update, 1 / (1 - beta1**number))
        if group["weight_decay"]:
            torch._foreach_add_(update, weights, alpha=group["weight_decay"])
            for step, ratio in zip(update, _trust(weights, update), strict=True):
                step.mul_(ratio)
        torch._foreach_add_(weights, update, alpha=-group["lr"])

    def _moments(self, weights: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor], int]:
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        states = [self.state[weight] for weight in weights]
        # After all allocations: an update that ran out of memory can be repeated.
        for state in states:
            state["step"] += 1
        return [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], states[0]["step"]


def _trust(weights: Sequence[torch.Tensor], update: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    pairs = zip(torch._foreach_norm(list(weights)), torch._foreach_norm(list(update)), strict=True)
    return [torch.where((size > 0) & (step > 0), size / step, torch.ones_like(size)) for size, step in pairs]
