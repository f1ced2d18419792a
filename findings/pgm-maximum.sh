#!/usr/bin/env bash
# A PGM file names its highest grey value. Pillow stretches a 12-bit one to 65535, OpenCV gives what is stored.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
finding_python <<'PY'
import cv2
import numpy as np
from finding import report
from PIL import Image

with open("grey12.pgm", "wb") as file:
    file.write(b"P5\n4 1\n4095\n" + np.array([[0, 1, 1000, 4095]], ">u2").tobytes())
pillow = np.asarray(Image.open("grey12.pgm")).tolist()[0]
opencv = cv2.imread("grey12.pgm", cv2.IMREAD_UNCHANGED).tolist()[0]
report(
    "the same numbers from both",
    f"Pillow {pillow}, OpenCV {opencv}",
    pillow == [0, 16, 16004, 65535] and opencv == [0, 1, 1000, 4095],
)
PY
