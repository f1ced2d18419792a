"""``gputrain-tui pack``: writes a data set as tar or Parquet shards."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import msgspec

from gputrain.engine.common import files
from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size
from gputrain.engine.hardware.machine import inspect_machine
from gputrain.engine.jobs import pack_shards
from gputrain.engine.jobs.pack_shards import PackOrder
from gputrain.tui.actions.plan_from_arguments import plan_of
from gputrain.tui.commands.command_messages import fail, show_progress


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    to = files.expand_user(options.to).absolute()
    plan = plan_of(options, inspect_machine())
    # The refusals of a plan concern training; those of the data are raised by the reader.
    config = plan.config
    if config.data.data_dir and to == Path(config.data.data_dir):
        raise BadInput("--to: the folder of the data itself; name another one")
    order = PackOrder(
        config=config,
        to=str(to),
        format=options.format,
        shard_bytes=options.size,
        short_side=options.short_side,
        quality=options.quality,
        keep_order=options.keep_order,
    )
    try:
        packed = pack_shards.pack(order, show_progress)
    except RuntimeError as error:
        return fail(error)
    if options.json:
        print(msgspec.json.encode(packed).decode())
        return EXIT_FINISHED
    for reason in packed.bad:
        print(f"left out: {plain(reason, 300)}")
    earlier = f", {packed.kept} of them from before" if packed.kept else ""
    print(f"{packed.images} images in {packed.shards} shards{earlier}, {size(packed.bytes)}, in {plain(str(to), 300)}")
    if packed.encoded:
        print(f"{packed.encoded} images were encoded anew with a short side of {options.short_side}")
    print(f"train on them with: gputrain-tui train --data {plain(shlex.quote(str(to)), 300)} dataset={options.format}")
    return EXIT_FINISHED
