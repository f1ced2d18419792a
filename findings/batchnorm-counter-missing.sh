#!/usr/bin/env bash
# Whether strict loading misses BatchNorm's num_batches_tracked depends on the type of the dictionary.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report

state = torch.nn.BatchNorm2d(2).state_dict()
del state["num_batches_tracked"]
seen = {}
for kind, given in (("as saved", state), ("dict(...) of it", dict(state))):
    try:
        seen[kind] = str(torch.nn.BatchNorm2d(2).load_state_dict(given, strict=True))
    except RuntimeError as error:
        seen[kind] = "refused: " + str(error).splitlines()[-1].strip()
report(
    "strict=True refuses a missing entry both times",
    seen,
    seen["as saved"].startswith("refused") and "matched" in seen["dict(...) of it"],
)
PY
