#!/usr/bin/env bash
# torchvision's ToTensor gives a 16-bit grey picture as signed, unscaled integers: the bright half is negative.
# v2's replacement for it scales to 0..1.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1 pillow==13.0.0 numpy==2.4.6
finding_python <<'PY'
import numpy as np
import torch
from finding import report
from PIL import Image
from torchvision.transforms import ToTensor, v2

picture = Image.fromarray(np.array([[0, 1000, 40000, 65535]], np.uint16))
old = ToTensor()(picture)
new = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture)
report(
    "0..1 from both, as for 8 bits",
    f"ToTensor: {old.dtype} {old.flatten().tolist()}; v2: {[round(x, 3) for x in new.flatten().tolist()]}",
    old.dtype == torch.int16 and old.flatten().tolist() == [0, 1000, -25536, -1] and new.max() == 1,
)
PY
