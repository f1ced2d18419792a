#!/usr/bin/env bash
# The dtype of a batch of regression targets depends on the first target of the batch.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
from finding import report
from torch.utils.data import default_collate

seen = [str(default_collate(labels).dtype) for labels in ([1, 2.5], [2.5, 1])]
report("the same numbers in another order give the same dtype", f"[1, 2.5]: {seen[0]}; [2.5, 1]: {seen[1]}", seen == ["torch.float32", "torch.float64"])
PY
