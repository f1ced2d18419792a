"""Link between ranks that a launcher started (torchrun, Kubernetes, MPI, srun), by the store at which they meet.

Rank 0 hands the settings to the others, gets their events, and each rank hears the heartbeat of rank 0, rank 0 those of
all: TCP alone takes a quarter of an hour to notice a machine that is gone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import platform
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from gputrain.engine.processes.rank_board import STILL_SECONDS, RankReport, write_reports
from gputrain.engine.processes.rank_environment import MeetingPoint
from gputrain.engine.training.distributed.process_group import open_store
from gputrain.engine.training.distributed.sent_board import SentBoard

_BEAT_SECONDS = 1.0
_END_SECONDS = 10.0
"""Time for rank 0 to wait for the others' end: it serves the store."""
_JOIN = dt.timedelta(minutes=15)
"""Time for the other machines to come up."""
_DONE = "done"
_FIRST_BEAT_SECONDS = 300.0
"""Least time for a rank to join: importing torch from a busy network file system takes minutes."""
_MEET_SECONDS = 60.0
"""Least patience until the ranks have met."""
_KEPT_RECORDS = 3
"""Records of steps that go with each heartbeat: rank 0 may miss a beat."""


class Start(msgspec.Struct, frozen=True):
    """What rank 0 tells the others."""

    directory: str
    config: msgspec.Raw
    """Settings of the run, as JSON."""


class RankLink:
    """One rank's end of the link. It opens clients of its own: a waiting one would hold up the process group."""

    def __init__(self, meeting: MeetingPoint, rank: int, count: int, on_lost: Callable[[str], None]) -> None:
        """`on_lost` gets which rank is lost, in words, on a thread. Raises RankLostError if rank 0 never comes."""
        self._rank, self._count, self._on_lost = rank, count, on_lost
        self._host = platform.node()
        self.store = open_store(meeting, rank, count, patience=_JOIN)
        """The store of this group."""
        self._events = open_store(meeting, rank, count, client=True, patience=_JOIN) if rank == 0 else self.store
        self._beats = open_store(meeting, rank, count, client=True, patience=_JOIN)
        self._heard: dict[int, tuple[bytes, float]] = {}
        self.patience = 0.0
        """Seconds without a heartbeat after which a rank counts as lost; 0: never."""
        self.met = False
        """The ranks have joined their process group."""
        self._closing = threading.Event()
        self.board = SentBoard(rank, self._host)
        """Where this rank is: sent with each heartbeat."""
        self._directory: Path | None = None
        """Where rank 0 writes the places of all ranks."""
        self._records: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_RECORDS)
        """With their numbers, from 1."""
        self._recorded = 0
        self._taken: dict[int, int] = {}
        """For each rank the number of its newest record that rank 0 has handed out."""
        self._on_records: Callable[[list[bytes]], None] = lambda _records: None

    def lead(
        self, start: Start, on_event: Callable[[int, bytes], None], on_records: Callable[[list[bytes]], None]
    ) -> None:
        """As rank 0: tell the others how the run starts; `on_event` gets their ranks and events, on a thread.

        `on_records` gets what `record` was given on other ranks, about once a second, on another thread.
        """
        self._on_records = on_records
        for rank in range(self._count):
            self._beats.set(f"beat/{rank}", "")
        self.store.set("start", msgspec.json.encode(start).decode())
        threading.Thread(target=self._read, args=(on_event,), name="rank events", daemon=True).start()
        self._directory = Path(start.directory)
        self._begin(range(1, self._count))

    def follow(self) -> Start:
        """As another rank: wait for rank 0 and hear how the run starts."""
        self.store.set(f"host/{self._rank}", self._host)
        self.store.wait(["start"], _JOIN)
        start = msgspec.json.decode(self.store.get("start"), type=Start)
        self._begin((0,))
        return start

    def send(self, event: bytes) -> None:
        """Send an encoded event to rank 0. Raises OSError."""
        try:
            number = self.store.add("events", 1)
            self.store.set(f"event/{number}", f"{self._rank} {event.decode()}")
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def record(self, event: bytes) -> None:
        """Send an encoded event to rank 0 with the next heartbeat. Never waits, and costs rank 0 little.

        An event is lost if more than two others follow within a second, or rank 0 is as late.
        """
        self._recorded += 1
        self._records.append((self._recorded, event))

    def close(self) -> None:
        """This rank has done its part. Rank 0 waits for the others, a few seconds."""
        with contextlib.suppress(RuntimeError):
            self.store.set(f"done/{self._rank}", _DONE)
            if self._rank == 0:
                self.store.wait([f"done/{rank}" for rank in range(self._count)], dt.timedelta(seconds=_END_SECONDS))
        self._closing.set()

    def _read(self, on_event: Callable[[int, bytes], None]) -> None:
        number = 1
        with contextlib.suppress(RuntimeError):
            while not self._closing.is_set():
                rank, _, event = self._events.get(f"event/{number}").partition(b" ")
                self._events.delete_key(f"event/{number}")
                on_event(int(rank), event)
                number += 1

    def _begin(self, others: tuple[int, ...] | range) -> None:
        now = time.monotonic()
        self._heard = dict.fromkeys(others, (b"", now))
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        threading.Thread(target=self._watch, name="heartbeat watch", daemon=True).start()

    def _beat(self) -> None:
        """Tell that this rank lives, and hear the others. A store that is out of reach leaves this thread waiting."""
        number = 0
        with contextlib.suppress(RuntimeError):
            while not self._closing.wait(_BEAT_SECONDS):
                number += 1
                report = self.board.report()
                self._beats.set(f"beat/{self._rank}", self._beat_text(number, report))
                others = list(self._heard)
                records: list[bytes] = []
                for rank, beat in zip(others, self._beats.multi_get([f"beat/{r}" for r in others]), strict=True):
                    if beat != self._heard[rank][0]:
                        self._heard[rank] = (beat, time.monotonic())
                        if self._rank == 0:
                            records += self._fresh(rank, beat)
                if records:
                    self._on_records(records)
                if self._directory is not None and report.seconds > STILL_SECONDS:
                    write_reports(self._directory, [report, *self._reports()])

    def _beat_text(self, number: int, report: RankReport) -> str:
        """A heartbeat: its number and the place of this rank; then the newest records, one a line."""
        kept = list(self._records)
        newest = kept[-1][0] if kept else 0
        head = f"{number} {newest} {msgspec.json.encode(report).decode()}"
        return "\n".join([head, *(raw.decode() for _, raw in kept)])

    def _fresh(self, rank: int, beat: bytes) -> list[bytes]:
        """The records in a heartbeat of `rank` that were not handed out."""
        head, *records = beat.split(b"\n")
        if not records:
            return []
        newest = int(head.split(b" ", 2)[1])
        fresh = min(len(records), newest - self._taken.get(rank, 0))
        self._taken[rank] = newest
        return records[len(records) - fresh :] if fresh > 0 else []

    def _reports(self) -> list[RankReport]:
        """Of the other ranks, from their newest heartbeats."""
        found = []
        for beat, _ in self._heard.values():
            with contextlib.suppress(msgspec.DecodeError):
                head = beat.partition(b"\n")[0]
                found.append(msgspec.json.decode(head.split(b" ", 2)[-1], type=RankReport))
        return found

    def _watch(self) -> None:
        while not self._closing.wait(_BEAT_SECONDS):
            now = time.monotonic()
            for rank, (_, at) in list(self._heard.items()):
                joined = bool(self._heard[rank][0])
                if not self.patience or now - at < self._patience_now(joined=joined):
                    continue
                if self._is_done(rank):
                    del self._heard[rank]
                    continue
                lost = "has sent no heartbeat" if joined else "has not joined"
                self._on_lost(f"rank {rank}{self._on_host(rank)} {lost} for {now - at:.0f} s")
                return

    def _patience_now(self, *, joined: bool) -> float:
        """Seconds of silence that are allowed now; imports may hold up a heartbeat until the ranks have met."""
        if joined and self.met:
            return self.patience
        return max(self.patience, _MEET_SECONDS if joined else _FIRST_BEAT_SECONDS)

    def _is_done(self, rank: int) -> bool:
        # Only rank 0's store answers for certain: it is in this process.
        return self._rank == 0 and self.store.check([f"done/{rank}"])

    def _on_host(self, rank: int) -> str:
        if self._rank == 0 and self.store.check([f"host/{rank}"]):
            return f" on {self.store.get(f'host/{rank}').decode(errors='replace')}"
        return ""
