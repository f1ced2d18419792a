#!/usr/bin/env bash
# torch.distributed.checkpoint reports a missing tensor by CheckpointException, which `except Exception` does not catch.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
import torch.distributed.checkpoint as checkpoint
from finding import report

checkpoint.save({"model": torch.nn.Linear(2, 2).state_dict()}, checkpoint_id="saved", no_dist=True)
caught = "nothing"
try:
    try:
        checkpoint.load({"model": {"other": torch.zeros(2)}}, checkpoint_id="saved", no_dist=True)
    except Exception as error:
        caught = f"Exception: {type(error).__name__}"
except BaseException as error:
    caught = f"BaseException: {type(error).__name__}"
report(
    "a subclass of Exception, as load_state_dict's RuntimeError is",
    f"caught as {caught}",
    caught == "BaseException: CheckpointException",
)
PY
