"""Everything that a rank imports, for a process that forks ranks. Importing it starts no thread and touches no GPU."""

from __future__ import annotations

import contextlib
import importlib

_MODULES = (
    "gputrain.engine.supervision.trainer_main",
    "gputrain.engine.training.loop.trainer",
    "gputrain.engine.training.loop.build_trainer",
    "gputrain.engine.training.distributed.process_group",
    "gputrain.engine.training.distributed.rank_link",
    "gputrain.engine.training.distributed.run_node_check",
    "gputrain.engine.training.distributed.ddp_network",
    "torch._dynamo",
)
"""torch's optimizers import the last one with their first step."""

for _name in _MODULES:
    # What can't be imported fails again, with its message, where a rank needs it.
    with contextlib.suppress(Exception):
        importlib.import_module(_name)
