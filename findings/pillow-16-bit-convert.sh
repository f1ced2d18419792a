#!/usr/bin/env bash
# Pillow's convert("L") and convert("RGB") cut a 16-bit grey picture off at 255.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
from finding import report
from PIL import Image

values = np.array([[0, 100, 255, 256, 4095, 40000, 65535]], np.uint16)
Image.fromarray(values).save("grey16.png")
picture = Image.open("grey16.png")
grey = np.asarray(picture.convert("L"))[0].tolist()
colour = np.asarray(picture.convert("RGB"))[0, :, 0].tolist()
report(
    "the upper eight bits, as for a 16-bit colour picture: 0, 0, 0, 1, 15, 156, 255",
    f"mode {picture.mode}; L {grey}; R of RGB {colour}",
    grey == colour == [0, 100, 255, 255, 255, 255, 255],
)
PY
