#!/usr/bin/env bash
# LitData stores a text that ends like an image's name as that image: a file name beside the picture becomes a second picture.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv litdata==0.2.76
finding_python <<'PY'
import json
import os

from finding import report
from litdata.streaming.cache import Cache
from PIL import Image

Image.new("RGB", (32, 32)).save("cat.jpg")
formats = {}
for name in ("cat.jpg", "cat"):
    os.mkdir(f"chunks-{name}")
    cache = Cache(f"chunks-{name}", chunk_size=1)
    cache[0] = {"image": Image.open("cat.jpg"), "name": name}
    cache.done()
    cache.merge()
    with open(f"chunks-{name}/index.json") as index:
        formats[name] = json.load(index)["config"]["data_format"]
report("the name is a text in both", formats, formats == {"cat.jpg": ["jpeg", "image:jpg"], "cat": ["jpeg", "str"]})
PY
