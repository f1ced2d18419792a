#!/usr/bin/env bash
# After a step of DistributedDataParallel the ranks' BatchNorm statistics differ, although their weights are the same: each
# rank's validation of the bare model judges another model. The next forward pass through DDP copies rank 0's.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import json
import subprocess
import sys

from finding import report

WORKER = """
import json
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1))
parallel = torch.nn.parallel.DistributedDataParallel(model)
parallel(torch.randn(8, 1) + 10 * dist.get_rank()).sum().backward()
after_step = round(model[0].running_mean.item(), 2)
parallel.eval()(torch.zeros(1, 1))
print(json.dumps([dist.get_rank(), after_step, round(model[0].running_mean.item(), 2)]))
dist.destroy_process_group()
"""
with open("worker.py", "w") as file:
    file.write(WORKER)
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
done = subprocess.run(command, capture_output=True, text=True, timeout=300)
zero, one = sorted(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
report(
    "the same buffers on all ranks after each step, as the same weights",
    f"running mean after a step: rank 0 {zero[1]}, rank 1 {one[1]}; after an evaluation by DDP: {zero[2]}, {one[2]}",
    abs(one[1] - zero[1]) > 0.5 and zero[2] == one[2] == zero[1],
)
PY
