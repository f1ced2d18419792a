#!/usr/bin/env bash
# A JPEG that was made smaller in place (thumbnail) is stored in full size by MDSWriter and LitData: both copy the opened file.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv mosaicml-streaming==0.13.0 litdata==0.2.76
finding_python <<'PY'
import os

import numpy as np
from finding import report
from litdata import StreamingDataset as Chunks
from litdata.streaming.cache import Cache
from PIL import Image
from streaming import MDSWriter, StreamingDataset

pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
Image.fromarray(pixels).save("large.jpg")
image = Image.open("large.jpg")
image.thumbnail((64, 64))
with MDSWriter(columns={"image": "jpeg"}, out="mds") as writer:
    writer.write({"image": image})
os.mkdir("litdata")
cache = Cache("litdata", chunk_size=1)
cache[0] = {"image": image}
cache.done()
cache.merge()
found = {
    "written": image.size,
    "mds": StreamingDataset(local="mds", batch_size=1)[0]["image"].size,
    "litdata": tuple(Chunks("litdata")[0]["image"].shape[:0:-1]),
}
report("64 x 48 pixels in both", found, found == {"written": (64, 48), "mds": (400, 300), "litdata": (400, 300)})
PY
