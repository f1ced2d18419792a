"""Writes the view or the curves of a screen to files, on a thread."""

from __future__ import annotations

import importlib.util
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.tui.state.run_snapshot import Snapshot


def name(now: Snapshot, what: str) -> Path:
    """A file name in the current folder without suffix: run, kind and time of day."""
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", now.started.run_id if now.started else "monitor").strip("-.")[:80]
    return Path(f"{run or 'run'}-{what}-{time.strftime('%H%M%S')}")


def save_view(picture: str, now: Snapshot, done: Callable[[str, bool], None]) -> None:
    """Write the SVG `picture` on a thread, which then calls `done` with a message and whether writing failed."""

    def work() -> str:
        path = name(now, "view").with_suffix(".svg")
        write_atomic(path, picture.encode(), 0o644)
        return str(path)

    _start(work, done)


def save_curves(now: Snapshot, done: Callable[[str, bool], None]) -> None:
    """Write the curves as CSV, and as SVG if matplotlib is installed. Calls `done` as `save_view` does."""

    def work() -> str:
        from gputrain.tui.actions.export_curves import write_curves

        stem = name(now, "curves")
        suffixes = [".csv", *([".svg"] if importlib.util.find_spec("matplotlib") else [])]
        for suffix in suffixes:
            write_curves(now, stem.with_suffix(suffix))
        return " and ".join(str(stem.with_suffix(suffix)) for suffix in suffixes)

    _start(work, done)


def _start(work: Callable[[], str], done: Callable[[str, bool], None]) -> None:
    def run() -> None:
        try:
            written = work()
        except (BadInput, OSError) as error:
            done(plain(f"not exported: {error}", 300), True)
        else:
            done(f"written: {plain(written, 300)} in {plain(str(Path.cwd()), 200)}", False)

    threading.Thread(target=run, name="export", daemon=True).start()
