#!/usr/bin/env bash
# OpenCV's imread returns None for a TIFF with one of the orientations that swap width and height, even where it shall ignore them.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
export OPENCV_LOG_LEVEL=OFF
finding_python <<'PY'
import cv2
from finding import report
from PIL import Image

seen = {}
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.new("RGB", (40, 20)).save("picture.tiff", exif=exif)
    read = [cv2.imread("picture.tiff", flag) for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)]
    seen[orientation] = [None if array is None else array.shape[:2] for array in read]
report(
    "each is read (turned, or as stored with IMREAD_IGNORE_ORIENTATION), as JPEG is",
    f"orientation: [by default, ignoring it]: {seen}",
    all((shape is None) == (key >= 5) for key, shapes in seen.items() for shape in shapes),
)
PY
