#!/usr/bin/env bash
# GradScaler skips an optimizer's step when a gradient is infinite. A post-step hook of an optimizer with fused=True runs all the same.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report


def hook_calls(cls: type[torch.optim.Optimizer], fused: bool) -> tuple[int, bool]:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = cls([weight], lr=0.1, fused=fused)
    calls: list[int] = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    weight.grad[0] = float("inf")
    scaler.step(optimizer)
    return len(calls), torch.equal(weight.detach(), torch.ones(3))


seen = {(cls.__name__, fused): hook_calls(cls, fused) for cls in (torch.optim.SGD, torch.optim.AdamW) for fused in (False, True)}
report(
    "no hook call for a skipped step, whatever the implementation",
    f"(calls, weights unchanged): {seen}",
    all(value == (int(fused), True) for (_, fused), value in seen.items()),
)
PY
