#!/usr/bin/env bash
# TensorFlow gives the palette indices of a BMP with a colour table as its pixels; for PNG and GIF it gives the colours.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv tensorflow==2.21.0 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
import tensorflow as tf
from finding import report
from PIL import Image

colours = np.array([[[255, 0, 0], [0, 0, 255], [0, 255, 0]]], np.uint8)
picture = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
seen = {}
for kind in ("png", "bmp"):
    picture.save(f"palette.{kind}")
    seen[kind] = tf.io.decode_image(tf.io.read_file(f"palette.{kind}"), channels=3).numpy().tolist()[0]
report(
    f"{colours.tolist()[0]} from both",
    seen,
    seen["png"] == colours.tolist()[0] and all(pixel[0] == pixel[1] == pixel[2] < 4 for pixel in seen["bmp"]),
)
PY
