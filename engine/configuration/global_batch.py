"""The images of one update, and how they are divided: batch_size × devices × accumulation_steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.sections import host_list


def rank_count(values: Mapping[str, Any]) -> int:
    """Number of processes that train: `devices` on each host. `devices` is a number."""
    devices: int = values["devices"]
    return max(1, devices) * max(1, len(host_list.read_hosts(values.get("hosts", ""))))


def product(values: Mapping[str, Any]) -> int:
    """Images per update of settings whose `devices` is a number."""
    count: int = values["batch_size"] * rank_count(values) * values["accumulation_steps"]
    return count


def divide(total: int, devices: int, largest: int) -> tuple[int, int]:
    """batch_size, at most `largest`, and accumulation_steps, so that `devices` compute `total` images per update.

    The batch is at least half as large as `largest`, so that no device computes much smaller ones than it could.
    Raises BadInput with the totals that can be divided.
    """
    share = total // devices
    if not total % devices:
        for size in range(min(largest, share), max(0, min(largest, share) // 2 - 1), -1):
            if not share % size:
                return size, share // size
    step = devices * largest
    below, above = total // step * step, (total // step + 1) * step
    fitting = f"{below} or {above}" if below else f"{above}"
    raise BadInput(
        f"global_batch_size: {total} images can't be divided among {devices} devices with about {largest} each; "
        f"set global_batch_size={fitting}, or another batch_size or number of devices"
    )


def steps_for(total: int, devices: int, batch_size: int) -> int:
    """accumulation_steps with which `devices` with batches of `batch_size` compute `total` images. Raises BadInput."""
    steps, rest = divmod(total, devices * batch_size)
    if rest or not steps:
        raise BadInput(
            f"global_batch_size: {total} is no multiple of {devices * batch_size} (batch_size {batch_size} × "
            f"{devices} devices); set global_batch_size={max(1, steps) * devices * batch_size}, or leave batch_size out"
        )
    return steps
