#!/usr/bin/env bash
# torchvision and timm both take a ViT from 224 to 384 pixels by bicubic interpolation of its position embedding; results differ.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchvision==0.29.1 timm==1.0.31
finding_python <<'PY'
import torch
from finding import report
from timm.layers import resample_abs_pos_embed
from torchvision.models.vision_transformer import interpolate_embeddings

torch.manual_seed(0)
coarse = torch.randn(1, 16, 7, 7)
grid = torch.nn.functional.interpolate(coarse, size=14, mode="bicubic").flatten(2).transpose(1, 2)
embedding = torch.cat([torch.zeros(1, 1, 16), grid], dim=1)
vision = interpolate_embeddings(384, 16, {"encoder.pos_embedding": embedding.clone()})["encoder.pos_embedding"]
timm = resample_abs_pos_embed(embedding, [24, 24])
relative = ((vision - timm).norm() / timm.norm()).item()
report(
    "two bicubic resamplings agree to rounding",
    f"relative difference {relative:.0%} (one puts the corners on each other, the other does not)",
    relative > 0.1,
)
PY
