#!/usr/bin/env bash
# TIFF's photometric interpretation WhiteIsZero: Pillow turns 1- and 8-bit pictures round, but not 16-bit and float ones.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 tifffile==2026.3.3
finding_python <<'PY'
import numpy as np
import tifffile
from finding import report
from PIL import Image

seen = {}
for dtype in (np.uint8, np.uint16, np.float32):
    tifffile.imwrite("white.tif", np.array([[0, 200]], dtype), photometric="miniswhite")
    seen[dtype.__name__] = np.asarray(Image.open("white.tif")).tolist()[0]
report(
    "a stored 0 is the brightest value in every depth",
    seen,
    seen == {"uint8": [255, 55], "uint16": [0, 200], "float32": [0.0, 200.0]},
)
PY
