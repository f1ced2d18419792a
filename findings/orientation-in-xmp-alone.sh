#!/usr/bin/env bash
# An orientation that stands only in a JPEG's XMP packet: Pillow's exif_transpose follows it, OpenCV does not.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
finding_python <<'PY'
import cv2
from finding import report
from PIL import Image, ImageOps

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
exif = Image.Exif()
exif[0x112] = 6
Image.new("RGB", (40, 20)).save("exif.jpg", exif=exif)
Image.new("RGB", (40, 20)).save("xmp.jpg", xmp=XMP)
seen = {name: (ImageOps.exif_transpose(Image.open(name)).size, cv2.imread(name).shape[1::-1]) for name in ("exif.jpg", "xmp.jpg")}
report(
    "exif_transpose goes by Exif, as its name says; both readers agree on both files",
    f"(width, height) by (Pillow, OpenCV): {seen}",
    seen == {"exif.jpg": ((20, 40), (20, 40)), "xmp.jpg": ((20, 40), (40, 20))},
)
PY
