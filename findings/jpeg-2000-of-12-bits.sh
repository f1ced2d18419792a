#!/usr/bin/env bash
# Pillow multiplies the values of a lossless 12-bit JPEG 2000 picture (as medical archives have) by 16.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 imagecodecs==2026.3.6 opencv-python-headless==5.0.0.93
finding_python <<'PY'
import cv2
import imagecodecs
import numpy as np
from finding import report
from PIL import Image

values = (np.arange(64 * 64).reshape(64, 64) % 4096).astype(np.uint16)
with open("grey12.jp2", "wb") as file:
    file.write(imagecodecs.jpeg2k_encode(values, bitspersample=12, reversible=True, level=0))
pillow = np.asarray(Image.open("grey12.jp2")).astype(int)
opencv = cv2.imread("grey12.jp2", cv2.IMREAD_UNCHANGED)
report(
    "the values that were stored, from both",
    f"stored up to {values.max()}; OpenCV up to {opencv.max()}, Pillow up to {pillow.max()}",
    np.array_equal(opencv, values) and np.array_equal(pillow, values.astype(int) * 16),
)
PY
