#!/usr/bin/env bash
# torch.utils.flop_counter counts the backward pass of a grouped convolution as if it had no groups.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report
from torch.utils.flop_counter import FlopCounterMode


def ratio(groups: int) -> float:
    layer = torch.nn.Conv2d(32, 32, 3, padding=1, groups=groups)
    images = torch.randn(1, 32, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        output = layer(images)
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    return backward.get_total_flops() / forward.get_total_flops()


seen = {groups: ratio(groups) for groups in (1, 2, 32)}
report(
    "backward is twice forward, for any number of groups",
    f"backward / forward by groups: {seen}",
    seen == {1: 2.0, 2: 3.0, 32: 33.0},
)
PY
