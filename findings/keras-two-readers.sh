#!/usr/bin/env bash
# Keras reads a 16-bit grey PNG in two ways: image_dataset_from_directory takes the upper eight bits, load_img cuts off at 255.
# A model trained with one and used with the other sees different pictures.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv tensorflow==2.21.0 pillow==13.0.0 numpy==2.4.6 keras==3.15.0
finding_python <<'PY'
import contextlib
import io
import os

import keras
import numpy as np
from finding import report
from PIL import Image

os.makedirs("images/a")
Image.fromarray(np.array([[0, 200, 4095, 65535]], np.uint16)).save("images/a/1.png")
with contextlib.redirect_stdout(io.StringIO()):
    dataset = keras.utils.image_dataset_from_directory("images", image_size=(1, 4), color_mode="grayscale", batch_size=1)
trained = next(iter(dataset))[0].numpy()[0, 0, :, 0].tolist()
used = keras.utils.img_to_array(keras.utils.load_img("images/a/1.png", color_mode="grayscale"))[0, :, 0].tolist()
shown = keras.utils.img_to_array(keras.utils.load_img("images/a/1.png"))[0, :, 0].tolist()
report(
    "the same pixels from both",
    f"image_dataset_from_directory {trained}; load_img grayscale {used}, rgb {shown}",
    trained == [0, 0, 15, 255] and shown == [0, 200, 255, 255],
)
PY
