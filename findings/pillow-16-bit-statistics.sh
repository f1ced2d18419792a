#!/usr/bin/env bash
# Pillow's histogram, and ImageStat with it, takes the first half of a 16-bit grey picture's bytes for its values:
# a data set's mean comes out wrong.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
from finding import report
from PIL import Image, ImageStat

values = np.array([[0, 100, 1000, 4095, 40000, 65535]], np.uint16)
picture = Image.fromarray(values)
mean = ImageStat.Stat(picture).mean[0]
report(
    f"a mean of {values.mean():.1f}, or an error",
    f"ImageStat mean {mean:.1f}; extrema by getextrema() {picture.getextrema()}, by ImageStat {ImageStat.Stat(picture).extrema}",
    mean == np.frombuffer(values.tobytes(), np.uint8)[: values.size].mean() and picture.getextrema() == (0, 65535),
)
PY
