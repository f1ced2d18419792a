#!/usr/bin/env bash
# Hugging Face datasets' imagefolder: one class folder whose name holds "test" or "training" is taken for a split,
# and the folders of the other classes are left out.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv datasets==5.2.0 pillow==13.0.0
finding_python <<'PY'
import os

from datasets import disable_progress_bars, load_dataset
from finding import report
from PIL import Image

disable_progress_bars()
for name in ("bottle", "flask", "test-tube"):
    os.makedirs(f"images/{name}")
    Image.new("RGB", (4, 4)).save(f"images/{name}/1.jpg")
loaded = load_dataset("imagefolder", data_dir="images", cache_dir="cache")
seen = {split: (len(data), sorted(data.features)) for split, data in loaded.items()}
report(
    "one split of three images with the labels bottle, flask and test-tube",
    f"split: (images, columns): {seen}",
    sum(count for count, _ in seen.values()) == 1,
)
PY
