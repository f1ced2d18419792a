#!/usr/bin/env bash
# A model in the channels_last memory format, the usual advice for convolutions, can't be written with safetensors as it is.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 safetensors==0.8.0
finding_python <<'PY'
import torch
from finding import report
from safetensors.torch import save_file

state = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last).state_dict()
torch.save(state, "weights.pt")
try:
    save_file(state, "weights.safetensors")
    outcome = "saved"
except ValueError as error:
    outcome = f"ValueError: {str(error)[:70]}..."
report("saved, as with torch.save", outcome, outcome.startswith("ValueError: You are trying to save a non contiguous"))
PY
