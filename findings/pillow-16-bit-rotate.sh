#!/usr/bin/env bash
# Pillow rotates a 16-bit grey picture with bilinear interpolation to other values: torchvision's RandomRotation and RandomAffine
# on such a picture do the same.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
from finding import report
from PIL import Image

flat = Image.fromarray(np.full((33, 33), 1000, np.uint16))
seen = {}
for name, method in (("nearest", Image.Resampling.NEAREST), ("bilinear", Image.Resampling.BILINEAR)):
    for mode in ("I;16", "I"):
        turned = np.asarray(flat.convert(mode).rotate(10, method))
        inside = turned[10:23, 10:23]
        seen[name, mode] = (int(inside.min()), int(inside.max()))
report(
    "1000 everywhere in the middle of an even grey picture",
    f"(lowest, highest) in the middle: {seen}",
    seen["nearest", "I;16"] == seen["bilinear", "I"] == (1000, 1000) and seen["bilinear", "I;16"][1] < 256,
)
PY
