#!/usr/bin/env bash
# A state dict has a hidden attribute with module versions, which a safetensors file (or any plain dict) does not carry.
# MNASNet insists on it.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1 safetensors==0.8.0
finding_python <<'PY'
import torch
import torchvision
from finding import report
from safetensors.torch import load_file, save_file

model = torchvision.models.mnasnet0_5()
torch.save(model.state_dict(), "weights.pt")
save_file(model.state_dict(), "weights.safetensors")
seen = {}
for name, state in (("torch.save", torch.load("weights.pt")), ("safetensors", load_file("weights.safetensors"))):
    try:
        seen[name] = str(torchvision.models.mnasnet0_5().load_state_dict(state))
    except ValueError as error:
        seen[name] = f"ValueError: {error}"
report(
    "the same names and tensors load from either file",
    seen,
    "matched" in seen["torch.save"] and seen["safetensors"].startswith("ValueError: version"),
)
PY
