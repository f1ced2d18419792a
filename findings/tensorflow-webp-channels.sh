#!/usr/bin/env bash
# TensorFlow drops the alpha of a PNG when it is asked for three channels, and refuses to do so for WebP.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv tensorflow==2.21.0 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import tensorflow as tf
from finding import report
from PIL import Image

seen = {}
for kind in ("png", "webp"):
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(f"alpha.{kind}")
    data = tf.io.read_file(f"alpha.{kind}")
    try:
        seen[kind] = str(tf.io.decode_image(data, channels=3, expand_animations=False).shape)
    except tf.errors.InvalidArgumentError as error:
        seen[kind] = "InvalidArgumentError"
report("(4, 4, 3) from both", seen, seen == {"png": "(4, 4, 3)", "webp": "InvalidArgumentError"})
PY
