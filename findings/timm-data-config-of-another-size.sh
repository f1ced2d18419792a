#!/usr/bin/env bash
# timm's resolve_model_data_config(model) describes the pretrained weights, not the model: a ViT made for 96 pixels and one
# channel is said to want 224 and three.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 timm==1.0.31
finding_python <<'PY'
import timm
import torch
from finding import report

model = timm.create_model("vit_tiny_patch16_224", img_size=96, in_chans=1)
size = timm.data.resolve_model_data_config(model)["input_size"]
try:
    model(torch.zeros(1, *size))
    outcome = "works"
except AssertionError as error:
    outcome = f"AssertionError: {error}"
report(
    "input_size (1, 96, 96), which the model can take",
    f"input_size {size}; a batch of that size: {outcome}",
    size == (3, 224, 224) and outcome.startswith("AssertionError"),
)
PY
