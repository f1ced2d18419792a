#!/usr/bin/env bash
# CrossEntropyLoss with class weights: the same labels as indices or as one-hot rows (as mixup makes them) give different losses,
# for the mean divides by the weights in one case and by the batch in the other.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report

torch.manual_seed(0)
logits = torch.randn(4, 3)
labels = torch.tensor([2, 2, 2, 2])
loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 5.0]))
by_index = loss(logits, labels).item()
by_row = loss(logits, torch.nn.functional.one_hot(labels, 3).float()).item()
plain = torch.nn.CrossEntropyLoss()
same = plain(logits, labels).item() - plain(logits, torch.nn.functional.one_hot(labels, 3).float()).item()
report(
    "one-hot rows mean the same as indices, as they do without weights",
    f"indices {by_index:.2f}, one-hot {by_row:.2f} (without weights the difference is {abs(same):.0e})",
    abs(by_row / by_index - 5) < 1e-3 and abs(same) < 1e-6,
)
PY
