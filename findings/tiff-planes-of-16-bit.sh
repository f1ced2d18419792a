#!/usr/bin/env bash
# Pillow reads a 16-bit colour TIFF whose channels are stored one after the other as noise, without an error.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 tifffile==2026.3.3
finding_python <<'PY'
import numpy as np
import tifffile
from finding import report
from PIL import Image

colours = (np.arange(12).reshape(1, 4, 3) * 5000).astype(np.uint16)
tifffile.imwrite("pixels.tif", colours, photometric="rgb")
tifffile.imwrite("planes.tif", np.moveaxis(colours, 2, 0), photometric="rgb", planarconfig="separate")
pixels, planes = (np.asarray(Image.open(name).convert("RGB")).astype(int) for name in ("pixels.tif", "planes.tif"))
wanted = (colours >> 8).astype(int)
report(
    "the same picture from both layouts, as with 8 bits",
    f"largest error: by pixel {abs(pixels - wanted).max()}, by plane {abs(planes - wanted).max()}",
    abs(pixels - wanted).max() == 0 and abs(planes - wanted).max() > 100,
)
PY
