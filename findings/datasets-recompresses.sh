#!/usr/bin/env bash
# Hugging Face datasets: a map that gives a JPEG image back untouched writes it anew, at JPEG quality 75.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import io

import numpy as np
from datasets import Dataset, Features, Image, disable_progress_bars
from finding import report
from PIL import Image as Pillow

disable_progress_bars()
file = io.BytesIO()
Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG", quality=95)
images = Dataset.from_dict({"image": [{"bytes": file.getvalue(), "path": None}]}, features=Features({"image": Image()}))
mapped = images.map(lambda row: {"image": row["image"]})
before, after = (np.asarray(data[0]["image"]).astype(int) for data in (images, mapped))
size = len(mapped.cast_column("image", Image(decode=False))[0]["image"]["bytes"])
report(
    "the same bytes, or at least the same pixels",
    f"{len(file.getvalue())} bytes become {size}; largest change of a pixel {abs(after - before).max()} of 255",
    size < len(file.getvalue()) and abs(after - before).max() > 10,
)
PY
