#!/usr/bin/env bash
# torch.distributed.checkpoint loads only the entries that the given dict already has. A new AdamW has no state yet: its
# momenta are left out without a word, while its learning rate is restored.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
import torch.distributed.checkpoint as checkpoint
from finding import report


def pair(rate: float) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=rate)


model, optimizer = pair(0.1)
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint_id="saved", no_dist=True)

new_model, new_optimizer = pair(0.5)
state = {"model": new_model.state_dict(), "optimizer": new_optimizer.state_dict()}
checkpoint.load(state, checkpoint_id="saved", no_dist=True)
new_optimizer.load_state_dict(state["optimizer"])
rate = new_optimizer.param_groups[0]["lr"]
report(
    "rate 0.1 and a state for each of the two parameters, as torch.load and load_state_dict give",
    f"weights equal {torch.equal(model.weight, new_model.weight)}, rate {rate}, parameters with a state {len(new_optimizer.state)}",
    rate == 0.1 and len(new_optimizer.state) == 0 and len(optimizer.state) == 2,
)
PY
