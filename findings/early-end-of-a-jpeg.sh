#!/usr/bin/env bash
# A JPEG whose compressed data stop in the middle: with an end marker behind them it is read without an error, half of it
# grey; without the marker it is an error.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
finding_python <<'PY'
import io

import cv2
import numpy as np
from PIL import Image

from finding import report

rng = np.random.default_rng(0)
coarse = Image.fromarray(rng.integers(0, 100, (12, 16, 3), dtype=np.uint8))
file = io.BytesIO()
coarse.resize((160, 120)).save(file, "JPEG", quality=90)
data = file.getvalue()
start = data.index(b"\xff\xda") + 20
half = data[: start + (len(data) - start) // 2].rstrip(b"\xff")


def by_pillow(content: bytes) -> object:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)[-1].tolist()
    except OSError as error:
        return str(error).split(" (")[0]


def by_opencv(content: bytes) -> object:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else image[-1].tolist()


grey = [[128, 128, 128]] * 160
with_marker = half + b"\xff\xd9"
seen = {
    "Pillow, without a marker": by_pillow(half),
    "Pillow, with one": "last row grey" if by_pillow(with_marker) == grey else "something else",
    "OpenCV, with one": "last row grey" if by_opencv(with_marker) == grey else "something else",
}
report(
    "both are errors",
    seen,
    seen["Pillow, without a marker"] == "image file is truncated" and list(seen.values())[1:] == ["last row grey"] * 2,
)
PY
