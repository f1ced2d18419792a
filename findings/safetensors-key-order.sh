#!/usr/bin/env bash
# safetensors files do not keep the order of the state dict; timm's load_checkpoint(remap=True) assigns weights by order.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 timm==1.0.31 safetensors==0.8.0
finding_python <<'PY'
import torch
from finding import report
from safetensors.torch import load_file, save_file
from timm.models import load_checkpoint


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.GroupNorm(2, 8), torch.nn.Conv2d(8, 8, 3))


state = network().state_dict()
torch.save(state, "weights.pt")
save_file(state, "weights.safetensors")
load_checkpoint(network(), "weights.pt", remap=True)
try:
    load_checkpoint(network(), "weights.safetensors", remap=True)
    outcome = "loaded"
except AssertionError as error:
    outcome = f"AssertionError: {error}"
order = list(load_file("weights.safetensors"))
report(
    "the order is kept; the .safetensors file loads as the .pt file does",
    f"saved {list(state)}, read {order}; timm: {outcome}",
    order != list(state) and sorted(order) == sorted(state) and outcome.startswith("AssertionError"),
)
PY
