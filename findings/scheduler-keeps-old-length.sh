#!/usr/bin/env bash
# load_state_dict of a learning-rate scheduler also takes over its length. A run that is resumed with more epochs
# follows the old cosine, and its learning rate climbs back to the maximum.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report
from torch.optim.lr_scheduler import CosineAnnealingLR


def pair(length: int) -> tuple[torch.optim.Optimizer, CosineAnnealingLR]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    return optimizer, CosineAnnealingLR(optimizer, T_max=length)


def run(optimizer: torch.optim.Optimizer, scheduler: CosineAnnealingLR, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        optimizer.step()
        scheduler.step()
        rates.append(round(optimizer.param_groups[0]["lr"], 2))
    return rates


first = pair(10)
run(*first, 10)
second = pair(20)
second[0].load_state_dict(first[0].state_dict())
second[1].load_state_dict(first[1].state_dict())
rates = run(*second, 10)
report(
    "T_max=20 of the new scheduler holds: the rate goes on to 0 at epoch 20",
    f"T_max {second[1].T_max}; rates of epochs 11-20: {rates}",
    second[1].T_max == 10 and rates[-1] == 1.0 and rates == sorted(rates),
)
PY
