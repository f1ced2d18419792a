#!/usr/bin/env bash
# autocast keeps its low-precision copies of the weights until its outermost block ends. With the whole training loop in one block
# every forward pass uses the weights of the first.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import contextlib

import torch
from finding import report


def losses(outer: bool) -> list[float]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = []
    with torch.autocast("cpu", dtype=torch.bfloat16) if outer else contextlib.nullcontext():
        for _ in range(4):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = (model(torch.ones(8, 4)) - 5).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(round(loss.item(), 2))
    return found


apart, around = losses(outer=False), losses(outer=True)
report(
    "the loss falls in both",
    f"a block for each step: {apart}; one block around the loop: {around}",
    apart[-1] < apart[0] / 2 and len(set(around)) == 1,
)
PY
