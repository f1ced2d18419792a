#!/usr/bin/env bash
# The fused kernel of SGD has no rule for weights divided by FSDP2, those of Adam and AdamW do.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import os
import tempfile

import torch
import torch.distributed as dist
from finding import report
from torch import nn
from torch.distributed.fsdp import fully_shard

os.environ["GLOO_SOCKET_IFNAME"] = "lo"
dist.init_process_group("gloo", init_method=f"file://{tempfile.mktemp()}", rank=0, world_size=1)


def one_step(kind: type[torch.optim.Optimizer]) -> str:
    network = fully_shard(nn.Linear(3, 2))
    optimizer = kind(network.parameters(), lr=0.1, fused=True)
    network(torch.ones(1, 3)).sum().backward()
    try:
        optimizer.step()
    except NotImplementedError:
        return "NotImplementedError"
    return "a step"


seen = {kind.__name__: one_step(kind) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)}
report(
    "a step by each of them",
    ", ".join(f"{name}: {what}" for name, what in seen.items()),
    seen == {"SGD": "NotImplementedError", "Adam": "a step", "AdamW": "a step"},
)
PY
