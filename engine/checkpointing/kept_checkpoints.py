"""Which checkpoints a run keeps: the last few, and the best. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gputrain.engine.checkpointing.checkpoint_index import CheckpointEntry


def kept(entries: Sequence[CheckpointEntry], new: CheckpointEntry, keep_last: int) -> list[CheckpointEntry]:
    """`entries`, the oldest first, with `new`: without the old best, an older entry of its step, all but the last few.

    `keep_last`: how many stay beside the best.
    """
    others = [msgspec.structs.replace(e, best=e.best and not new.best) for e in entries]
    listed = [e for e in others if e.best or e.step != new.step] + [new]
    return [e for number, e in enumerate(listed) if e.best or number >= len(listed) - keep_last]
