#!/usr/bin/env bash
# Activation checkpointing runs the forward pass again during backward; BatchNorm's running statistics are then updated again.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
images = torch.randn(64, 4) + 5


def step(checkpointed: bool) -> tuple[int, float]:
    norm = torch.nn.BatchNorm1d(4)
    block = torch.nn.Sequential(norm, torch.nn.ReLU(), torch.nn.Linear(4, 2))
    output = checkpoint(block, images, use_reentrant=False) if checkpointed else block(images)
    output.sum().backward()
    return int(norm.num_batches_tracked), round(norm.running_mean.mean().item(), 2)


plain, again = step(False), step(True)
report(
    "one update a step: checkpointing trades time for memory and changes no result",
    f"(updates, running mean after one step): plain {plain}, checkpointed {again}",
    plain[0] == 1 and again[0] == 2 and again[1] > 1.5 * plain[1],
)
PY
