#!/usr/bin/env bash
# Reading a DataLoader that neither shuffles nor has workers draws from torch's global generator: whether a run validates
# decides in which order it trains.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report
from torch.utils.data import DataLoader


def second_epoch(validate: bool) -> list[int]:
    torch.manual_seed(0)
    training = DataLoader(range(8), batch_size=8, shuffle=True)
    validation = DataLoader(range(8), batch_size=8, shuffle=False)
    next(iter(training))
    if validate:
        next(iter(validation))
    return next(iter(training)).tolist()


without, with_validation = second_epoch(False), second_epoch(True)
report(
    "the same order: nothing random happens in the validation",
    f"epoch 2 without validation {without}, with {with_validation}",
    without != with_validation,
)
PY
