"""The thread that reads events, applies them to a store, and posts snapshots at a limited rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from gputrain.tui.state.event_source import EventSource
from gputrain.tui.state.run_snapshot import Snapshot

if TYPE_CHECKING:
    from gputrain.tui.state.run_store import RunStore

FRAME_SECONDS = 1.0
"""Shortest time between two snapshots in seconds. The machine is sampled once a second."""
LOW_BANDWIDTH_FRAME_SECONDS = 2.0
"""The same for ``--low-bandwidth``."""
_READ_SECONDS = 0.5
_AT_ONCE = 250
"""Events of the record that are read at once: thousands in memory would leave the process 8 MiB larger."""


class Frame(Struct, frozen=True, kw_only=True):
    """A snapshot with the state of its source."""

    now: Snapshot
    live: bool
    """A supervisor owns the run."""
    caught_up: bool
    """Everything recorded before the attach was read."""
    error: str = ""
    """Why the run can no longer be read."""
    trouble: str = ""
    """Why it cannot be read for now."""


class Reader:
    """Reads `source` on its own thread until `stop`.

    Calls `on_frame` on that thread with each new frame, and `on_failure` with an unexpected exception, which the
    application then raises on its own thread.
    """

    def __init__(
        self,
        source: EventSource,
        on_frame: Callable[[Frame], None],
        on_failure: Callable[[Exception], None],
        frame_seconds: float = FRAME_SECONDS,
    ) -> None:
        self._source = source
        self._frame_seconds = frame_seconds
        self._on_frame = on_frame
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._caught_up = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        from gputrain.tui.state.run_store import RunStore

        store = RunStore()
        try:
            self._read(store)
        except OSError as error:
            self._post(store, error=f"the run cannot be read: {error}")
        except Exception as error:  # noqa: BLE001 - the application raises it on its own thread
            self._on_failure(error)
        finally:
            self._source.close()

    def _read(self, store: RunStore) -> None:
        posted = 0.0
        before: tuple[bool, bool, str] | None = None
        fresh = True
        while not self._stop.is_set():
            # Short at first, so that the dashboard of a run without events opens at once.
            events = self._source.read(_READ_SECONDS) if self._caught_up else self._source.read(0.05, _AT_ONCE)
            store.apply_all(events, self._source.sparse_until)
            self._caught_up = self._caught_up or (not events and self._source.caught_up) or self._source.ended
            fresh = fresh or bool(events)
            state = (self._source.abandoned, self._caught_up, self._source.trouble)
            if (fresh or state != before) and (self._caught_up or time.monotonic() - posted >= self._frame_seconds):
                fresh, before, posted = False, state, time.monotonic()
                self._post(store)
            if self._caught_up:
                # Waiting here instead of in `read` collects several events into one frame.
                self._stop.wait(self._frame_seconds)

    def _post(self, store: RunStore, error: str = "") -> None:
        live = not (error or self._source.abandoned or self._source.ended)
        self._on_frame(
            Frame(
                now=store.snapshot(),
                live=live,
                caught_up=self._caught_up,
                error=error,
                trouble=self._source.trouble,
            )
        )
