#!/usr/bin/env bash
# torchvision's Inception turns ImageNet's normalisation into its own when it was made with transform_input, as pretrained
# weights make it. The state dict does not say so.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import torch
from finding import report
from torchvision.models import Inception_V3_Weights, inception_v3

torch.manual_seed(0)
like_pretrained = inception_v3(weights=None, transform_input=True, aux_logits=False, init_weights=True).eval()
reloaded = inception_v3(weights=None, aux_logits=False, init_weights=False).eval()
loaded = reloaded.load_state_dict(like_pretrained.state_dict(), strict=True)
images = torch.randn(2, 3, 299, 299)
with torch.no_grad():
    difference = ((like_pretrained(images) - reloaded(images)).norm() / like_pretrained(images).norm()).item()
report(
    "a state dict that loads strictly gives the same outputs",
    f"{loaded}; relative difference of the outputs {difference:.1f}; mean asked for: {Inception_V3_Weights.DEFAULT.transforms().mean}",
    difference > 0.5,
)
PY
