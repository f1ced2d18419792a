#!/usr/bin/env bash
# Pillow applies the orientation tag of a TIFF when it reads it, but not the one of JPEG, PNG, WebP or AVIF.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
from finding import report
from PIL import Image

exif = Image.Exif()
exif[0x112] = 6
seen = {}
for kind in ("jpeg", "png", "webp", "tiff"):
    Image.new("RGB", (40, 20)).save(f"picture.{kind}", exif=exif)
    picture = Image.open(f"picture.{kind}")
    picture.load()
    seen[kind] = (picture.size, picture.getexif().get(0x112))
report(
    "(40, 20) as stored for all, with the tag kept for ImageOps.exif_transpose",
    f"(size, orientation left): {seen}",
    seen == {"jpeg": ((40, 20), 6), "png": ((40, 20), 6), "webp": ((40, 20), 6), "tiff": ((20, 40), None)},
)
PY
