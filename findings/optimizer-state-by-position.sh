#!/usr/bin/env bash
# An optimizer made with named parameters saves the names, but load_state_dict matches by position and overwrites the names.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
from finding import report

a, b = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
saved = torch.optim.Adam([("a", a), ("b", b)])
(a * 1 + b * 9).sum().backward()
saved.step()

resumed = torch.optim.Adam([("b", b), ("a", a)])
resumed.load_state_dict(saved.state_dict())
momentum = round(resumed.state[b]["exp_avg"][0].item(), 2)
names = resumed.param_groups[0]["param_names"]
report(
    "with names in the file, b gets b's momentum (0.9), or the other order is refused",
    f"b has momentum {momentum}, and the group (b, a) is now called {names}",
    momentum == 0.1 and names == ["a", "b"],
)
PY
