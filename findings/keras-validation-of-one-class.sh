#!/usr/bin/env bash
# Keras image_dataset_from_directory(validation_split=..., shuffle=False) takes the end of the list of files, which is sorted by
# class: the validation set holds the last class alone.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv tensorflow==2.21.0 pillow==13.0.0 numpy==2.4.6 keras==3.15.0
finding_python <<'PY'
import contextlib
import io
import os

import keras
from finding import report
from PIL import Image

for label in range(4):
    os.makedirs(f"images/{label}")
    for number in range(10):
        Image.new("RGB", (8, 8)).save(f"images/{label}/{number}.png")
with contextlib.redirect_stdout(io.StringIO()):
    validation = keras.utils.image_dataset_from_directory(
        "images", validation_split=0.25, subset="validation", shuffle=False, image_size=(8, 8), batch_size=40
    )
labels = [int(label) for _, batch in validation for label in batch]
report(
    "a quarter of each class, unshuffled, or a warning",
    f"labels {labels}",
    labels == [3] * 10,
)
PY
