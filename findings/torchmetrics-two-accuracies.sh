#!/usr/bin/env bash
# torchmetrics: Accuracy(task="multiclass") makes a MulticlassAccuracy, but averages otherwise than MulticlassAccuracy itself.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 torchmetrics==1.9.0
finding_python <<'PY'
import torch
import torchmetrics
from finding import report
from torchmetrics.classification import MulticlassAccuracy

labels = torch.tensor([0] * 9 + [1])
guesses = torch.zeros(10, dtype=torch.long)
general = torchmetrics.Accuracy(task="multiclass", num_classes=2)
special = MulticlassAccuracy(num_classes=2)
kinds = type(general).__name__, type(special).__name__
seen = round(general(guesses, labels).item(), 2), round(special(guesses, labels).item(), 2)
report("the same class gives the same number: 0.9", f"{kinds}: {seen}", kinds[0] == kinds[1] and seen == (0.9, 0.5))
PY
