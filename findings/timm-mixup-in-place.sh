#!/usr/bin/env bash
# timm's Mixup writes the mixture into the batch it was given: what is kept of the batch (a cache, a picture log) is mixed, too.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 timm==1.0.31
finding_python <<'PY'
import numpy as np
import torch
from finding import report
from timm.data import Mixup

np.random.seed(0)
batch = torch.rand(4, 3, 8, 8)
before = batch.clone()
mixed, _ = Mixup(mixup_alpha=1.0, num_classes=4)(batch, torch.arange(4))
report(
    "a new tensor, as torchvision's MixUp returns",
    f"the result is the batch itself: {mixed is batch}; the batch's values changed: {not torch.equal(batch, before)}",
    mixed is batch and not torch.equal(batch, before),
)
PY
