#!/usr/bin/env bash
# timm's create_optimizer_v2(layer_decay=...) only notes a scale in each group; the optimizer, and any of torch's schedulers,
# goes on with one rate for all layers. Only timm's own schedulers apply it.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 timm==1.0.31
finding_python <<'PY'
import timm
import torch
from finding import report
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

model = timm.create_model("vit_tiny_patch16_224", num_classes=2)


def rates(kind: str) -> set[float]:
    optimizer = create_optimizer_v2(model, "adamw", lr=1.0, layer_decay=0.5)
    if kind == "torch":
        torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    else:
        CosineLRScheduler(optimizer, t_initial=10)
    return {round(group["lr"], 4) for group in optimizer.param_groups}


with_torch, with_timm = rates("torch"), rates("timm")
report(
    "rates that fall from layer to layer",
    f"different rates of the groups: with torch's scheduler {len(with_torch)} ({with_torch}), with timm's {len(with_timm)}",
    with_torch == {1.0} and len(with_timm) > 5,
)
PY
