#!/usr/bin/env bash
# torchvision: turning a PIL picture's hue by 0 changes a third of its values, by up to 6 of 255. A tensor stays as it is.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
import torch
from finding import report
from PIL import Image
from torchvision.transforms.v2.functional import adjust_hue

before = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
picture = np.asarray(adjust_hue(Image.fromarray(before), 0.0)).astype(int) - before
tensor = adjust_hue(torch.from_numpy(before).permute(2, 0, 1), 0.0).permute(1, 2, 0).numpy().astype(int) - before
report(
    "no change",
    f"PIL: {(picture != 0).mean():.0%} of the values change, by up to {abs(picture).max()}; tensor: by up to {abs(tensor).max()}",
    (picture != 0).mean() > 0.3 and abs(picture).max() > 3 and abs(tensor).max() == 0,
)
PY
