#!/usr/bin/env bash
# torchvision's TrivialAugmentWide shifts by up to 32 pixels whatever the size of the picture: small ones are shifted out of sight.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1
finding_python <<'PY'
import torch
from finding import report
from torchvision.transforms import v2

torch.manual_seed(0)
augment = v2.TrivialAugmentWide()
seen = {}
for size in (28, 96):
    picture = torch.full((3, size, size), 200, dtype=torch.uint8)
    seen[size] = sum(int(augment(picture).max()) == 0 for _ in range(2000)) / 2000
report(
    "a picture stays to be seen at any size",
    f"share of pictures that come out all black, by size: {seen}",
    0.005 < seen[28] < 0.04 and seen[96] == 0,
)
PY
