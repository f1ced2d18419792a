#!/usr/bin/env bash
# timm's CosineLRScheduler with warmup_t: the cosine is already falling during the warm-up, and the base rate is never reached.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 timm==1.0.31
finding_python <<'PY'
import torch
from finding import report
from timm.scheduler import CosineLRScheduler


def rates(**options: bool) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = CosineLRScheduler(optimizer, t_initial=10, warmup_t=5, warmup_lr_init=0.0, **options)
    found = []
    for epoch in range(10):
        found.append(round(optimizer.param_groups[0]["lr"], 2))
        scheduler.step(epoch + 1)
    return found


default, prefixed = rates(), rates(warmup_prefix=True)
report(
    "a rise to the base rate of 1.0, then the cosine",
    f"{default}; with warmup_prefix=True {prefixed}",
    max(default) < 0.9 and max(prefixed) == 1.0,
)
PY
