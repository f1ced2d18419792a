#!/usr/bin/env bash
# Optimizer.load_state_dict also takes over `fused` from the checkpoint. An optimizer made with fused=True that loads a state saved
# without it still tells GradScaler that it unscales by itself, and then refuses.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report


def train(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter) -> None:
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale((weight * weight).sum()).backward()
    scaler.step(optimizer)


first = torch.nn.Parameter(torch.ones(3))
saved = torch.optim.AdamW([first], lr=0.1, fused=False)
train(saved, first)

second = torch.nn.Parameter(torch.ones(3))
resumed = torch.optim.AdamW([second], lr=0.1, fused=True)
resumed.load_state_dict(saved.state_dict())
try:
    train(resumed, second)
    outcome = "trained"
except AssertionError as error:
    outcome = f"AssertionError: {error}"
report(
    "fused=True, an implementation choice of this run, is kept; the step works",
    f"fused is {resumed.param_groups[0]['fused']} after loading; GradScaler.step: {outcome}",
    resumed.param_groups[0]["fused"] is False and outcome.startswith("AssertionError"),
)
PY
