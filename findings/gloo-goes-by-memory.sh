#!/usr/bin/env bash
# torch.distributed with gloo exchanges memory, not elements: a channels_last tensor and a contiguous one of the same shape
# are added, or copied onto each other, in different orders.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import subprocess
import sys

from finding import report

WORKER = """
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
values = torch.arange(24.0).reshape(1, 4, 3, 2)
layout = torch.channels_last if rank == 0 else torch.contiguous_format
total = values.clone().contiguous(memory_format=layout)
dist.all_reduce(total)
copy = (values.clone() if rank == 0 else torch.zeros_like(values)).contiguous(memory_format=layout)
dist.broadcast(copy, 0)
print(f"rank {rank}: sum right {torch.equal(total, 2 * values)}, copy right {torch.equal(copy, values)}")
dist.destroy_process_group()
"""
with open("worker.py", "w") as file:
    file.write(WORKER)
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
done = subprocess.run(command, capture_output=True, text=True, timeout=300)
lines = sorted(line for line in done.stdout.splitlines() if line.startswith("rank"))
report(
    "sums and copies by index (or an error about the layouts)",
    "; ".join(lines),
    lines == ["rank 0: sum right False, copy right True", "rank 1: sum right False, copy right False"],
)
PY
