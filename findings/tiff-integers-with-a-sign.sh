#!/usr/bin/env bash
# Pillow reads signed bytes of a TIFF as unsigned and large unsigned integers as negative.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 tifffile==2026.3.3
finding_python <<'PY'
import numpy as np
import tifffile
from finding import report
from PIL import Image

seen = {}
for values in (np.array([[-5, 0, 100]], np.int8), np.array([[5, 2**31, 2**32 - 1]], np.uint32)):
    tifffile.imwrite("integers.tif", values)
    picture = Image.open("integers.tif")
    seen[values.dtype.name] = (picture.mode, np.asarray(picture).tolist()[0])
report(
    "int8: -5, 0, 100; uint32: 5, 2147483648, 4294967295; or refused, as 64-bit and half-precision ones are",
    seen,
    seen == {"int8": ("L", [251, 0, 100]), "uint32": ("I", [5, -(2**31), -1])},
)
PY
