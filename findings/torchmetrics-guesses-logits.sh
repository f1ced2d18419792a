#!/usr/bin/env bash
# torchmetrics decides batch by batch whether it was given logits: those that happen to lie between 0 and 1 count as probabilities.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchmetrics==1.9.0
finding_python <<'PY'
import torch
from finding import report
from torchmetrics.classification import BinaryAccuracy

logits = torch.tensor([0.4, 0.3, 0.2, 2.0])
labels = torch.ones(4, dtype=torch.long)
whole, by_two = BinaryAccuracy(), BinaryAccuracy()
whole.update(logits, labels)
for start in (0, 2):
    by_two.update(logits[start : start + 2], labels[start : start + 2])
seen = whole.compute().item(), by_two.compute().item()
report("the batch size does not matter to an accuracy", f"one batch of four {seen[0]}, two batches of two {seen[1]}", seen == (1.0, 0.5))
PY
