"""Reads the whole record of a run into a snapshot."""

from __future__ import annotations

from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.state.run_store import RunStore


def read_snapshot(run: RunDir) -> Snapshot:
    """The snapshot of `run` now; of a very long record only parts are read. Raises OSError if it cannot be read."""
    attachment, store = launch.attach(run, outlined=True), RunStore()
    try:
        while not attachment.caught_up:
            store.apply_all(attachment.read(timeout=0), attachment.sparse_until)
    finally:
        attachment.close()
    return store.snapshot()
