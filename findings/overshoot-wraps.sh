#!/usr/bin/env bash
# torchvision v2: bicubic resizing of a float picture overshoots 0..1 at edges; ToDtype(torch.uint8, scale=True) wraps such values
# round instead of cutting them off: white becomes black beside an edge.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1
finding_python <<'PY'
import torch
from finding import report
from torchvision.transforms import InterpolationMode, v2

edge = torch.zeros(1, 32, 32)
edge[:, :, 16:] = 1.0
larger = v2.Resize(64, interpolation=InterpolationMode.BICUBIC)(edge)
wrapped = v2.ToDtype(torch.uint8, scale=True)(larger)[0, 32].tolist()
row = (larger[0, 32] * 255).clamp(0, 255).round().tolist()
largest = max(abs(a - b) for a, b in zip(wrapped, row, strict=True))
report(
    f"values outside are cut off at 0 and 255, as the transform of a uint8 picture does: {[int(x) for x in row[26:38]]}",
    f"{wrapped[26:38]}",
    largest > 200,
)
PY
