#!/usr/bin/env bash
# fully_shard (FSDP2) refuses a convolution in the channels_last memory format.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import torch
import torch.distributed as dist
from finding import report
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
seen = {}
for layout in (torch.contiguous_format, torch.channels_last):
    try:
        fully_shard(torch.nn.Conv2d(3, 8, 3).to(memory_format=layout))
        seen[str(layout)] = "sharded"
    except NotImplementedError as error:
        seen[str(layout)] = f"NotImplementedError: {str(error)[:55]}"
dist.destroy_process_group()
report("sharded, as DDP takes it", seen, list(seen.values())[0] == "sharded" and "non-contiguous" in list(seen.values())[1])
PY
