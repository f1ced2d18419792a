#!/usr/bin/env bash
# TensorBoard's EventAccumulator, with which scripts read curves back, keeps a random 10000 points of a longer one.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 tensorboard==2.21.0
finding_python <<'PY'
from finding import report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

with SummaryWriter("run") as writer:
    for step in range(12000):
        writer.add_scalar("loss", 1.0, step)
accumulator = EventAccumulator("run")
accumulator.Reload()
steps = [event.step for event in accumulator.Scalars("loss")]
missing = sorted(set(range(12000)) - set(steps))
report(
    "12000 points",
    f"{len(steps)} points; the first ones missing: steps {missing[:4]}",
    len(steps) == 10000 and len(missing) == 2000,
)
PY
