"""From the pages of a script's processes to the events of a run: the same ones that our own trainer sends."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.dataloading.lock_waits import LockWaitSampler
from gputrain.engine.events import AnyEvent, LoaderStats, Notice, Phase, PhaseChanged, Traced
from gputrain.engine.events.commands import ProfileCommand, TuneCommand
from gputrain.engine.probe import layout
from gputrain.engine.user_script.hang_watch import HangWatch
from gputrain.engine.user_script.page_reader import MappedPage, PageFolder
from gputrain.engine.user_script.readings import (
    WorkerSums,
    difference,
    read_share,
    slowest_sample,
    total,
    worker_sums,
)
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_leader import ScriptLeader, mates
from gputrain.engine.user_script.script_rank import WINDOW_SECONDS, ScriptRank, failure_notice
from gputrain.engine.user_script.script_tuner import ScriptTuner

LOADER_SECONDS = 1.0
SILENT_SECONDS = 60.0
"""Without a step for so long it is said that there is only monitoring, and why."""


class ScriptEvents:
    """Reads all pages of one script. Times are seconds of the monotonic clock."""

    def __init__(self, folder: PageFolder, command: ScriptCommand, began: float, hang_seconds: float = 0.0) -> None:
        """`hang_seconds`: without a sign of life from any rank for so long they are looked at; 0: never."""
        self._folder = folder
        self._command = command
        self._began = began
        self._ranks: dict[MappedPage, ScriptRank] = {}
        self._lead = ScriptLeader()
        self._phase = Phase.STARTING
        self._loader_at = began
        self._workers = WorkerSums()
        self._ended_workers = WorkerSums()
        self._locks = LockWaitSampler(threads=False)
        self._told_silent = False
        self._told_unknown = ""
        self._failed: set[str] = set()
        """Hooks of workers that switched themselves off."""
        self._hang = HangWatch(hang_seconds)
        self.tuner = ScriptTuner()

    @property
    def trains(self) -> set[int]:
        """Processes that made an update."""
        return {page.pid for page in self._folder.scan() if not page.is_worker and page.slots[layout.UPDATES] > 0}

    def look_at_locks(self) -> None:
        """Look what the working workers wait for; many times a second."""
        self._locks.sample()

    def poll(self, now: float, *, last: bool = False) -> list[AnyEvent]:
        """What happened since the last call; the `last` one leaves no step out."""
        pages = self._folder.scan()
        found: list[AnyEvent] = [*self._hang.feed(now, pages)]
        for page in pages:
            if page.is_worker:
                found += self._failures(page)
                # A loop without workers waits for its own threads, too, when it computes.
                if page.slots[layout.WORKER_ID] >= 0:
                    self._locks.watch(int(page.slots[layout.THREAD]))
                continue
            rank = self._ranks.get(page)
            if rank is None:
                rank = self._ranks[page] = ScriptRank(page)
            found += rank.said()
            for line in rank.answers:
                found += self.tuner.answered(line)
            rank.answers.clear()
        # Before the first update, too: the first batch of a slow loader may come long before it.
        found += self._fed(found)
        leader = self._leader()
        if leader is None:
            return [*found, *self._silence(now, pages)]
        found += self._trained(now, pages, leader, last=last)
        return [*found, *self._silence(now, pages)]

    def _fed(self, events: list[AnyEvent]) -> list[AnyEvent]:
        """What the tuner says of new events."""
        return [answer for event in events for answer in self.tuner.feed(event)]

    def _trained(self, now: float, pages: list[MappedPage], leader: ScriptRank, *, last: bool) -> list[AnyEvent]:
        """What happened in a script that has made updates."""
        found = self._follows(leader)
        found += self._phases(leader)
        found += self._steps(leader, 0.0 if last else WINDOW_SECONDS)
        if now - self._loader_at >= LOADER_SECONDS:
            found += self._loader(now, [page for page in pages if page.is_worker], leader)
        return [*found, *self._fed(found), *self.tuner.judge(leader.page)]

    def _failures(self, page: MappedPage) -> list[AnyEvent]:
        """Each once: all workers have the same hooks."""
        lines = [line for line in page.lines() if line.get("kind") == "disabled"]
        new = {str(line.get("hook")): line for line in lines if str(line.get("hook")) not in self._failed}
        self._failed |= set(new)
        return [failure_notice(line) for line in new.values()]

    def take(self, command: TuneCommand | ProfileCommand) -> list[AnyEvent]:
        """Ask the script for other settings of its loader, or for a trace; returns the refusal, if there is one."""
        leader = self._leader()
        if isinstance(command, TuneCommand):
            refused = self.tuner.ask(command, leader.page if leader else None)
            return [refused] if refused is not None else []
        if leader is None:
            text = "no process of the script has trained with torch so far, or the probe is kept out"
            return [Traced(request=command.id, verdict="failed", text=text)]
        return leader.trace(command, self._folder.folder)

    def close(self) -> None:
        """Release what is held."""
        self._locks.close()

    def _leader(self) -> ScriptRank | None:
        return self._lead.choose(self._ranks.values())

    def _follows(self, leader: ScriptRank) -> list[AnyEvent]:
        """The last steps of the process that `leader` has followed, and what is said of the change."""
        before = self._lead.follows()
        if before is None:
            return []
        window = before.window(0.0)
        found = [before.events(window, before, None, self._command)] if window is not None else []
        text = f"process {leader.page.pid} trains now: steps and rates are its own from here on"
        return [*found, Notice(level="info", text=text, source="supervisor"), *leader.introduced()]

    def _phases(self, leader: ScriptRank) -> list[AnyEvent]:
        validating = leader.page.slots[layout.PHASE] == layout.VALIDATION
        phase = Phase.VALIDATING if validating else Phase.TRAINING
        if phase is self._phase:
            return []
        self._phase = phase
        return [PhaseChanged(phase=phase)]

    def _steps(self, leader: ScriptRank, least: float) -> list[AnyEvent]:
        together = mates(leader, self._ranks.values())
        windows = [(rank, window) for rank in together if (window := rank.window(least)) is not None]
        own = [rank.own_seconds for rank in together if rank.own_seconds is not None]
        slowest = max(own) if len(together) > 1 and own else None
        found = [rank.events(window, leader, slowest, self._command) for rank, window in windows]
        why = leader.why_unknown()
        if why and why != self._told_unknown and found:
            self._told_unknown = why
            found.append(Notice(level="info", text=f"how long it waits for data is unknown: {why}", source="trainer"))
        return found

    def _silence(self, now: float, pages: list[MappedPage]) -> list[AnyEvent]:
        """Once: why nothing is known of a script that has been running for a while."""
        if self._told_silent or now - self._began < SILENT_SECONDS or self._leader() is not None:
            return []
        self._told_silent = True
        return [Notice(level="warning", text=_why_silent(pages), source="supervisor")]

    def _loader(self, now: float, pages: list[MappedPage], leader: ScriptRank) -> list[AnyEvent]:
        seconds, self._loader_at = now - self._loader_at, now
        # A loop without workers makes its batches itself; beside workers, those are of validation.
        own = [page for page in pages if page.pid == leader.page.pid]
        others = [page for page in pages if page.slots[layout.WORKER_ID] >= 0 and self._works_for(page, leader)]
        counted = others or own
        alive = [page for page in counted if _is_alive(page.pid)]
        before = self._workers
        self._workers = total(worker_sums(page) for page in counted).plus(self._ended_workers)
        for page in pages:
            if page not in alive and not _is_alive(page.pid):
                if page in counted:
                    self._ended_workers = self._ended_workers.plus(worker_sums(page))
                self._folder.forget(page)
        samples, busy = self._workers.samples - before.samples, self._workers.busy - before.busy
        if not alive or samples <= 0:
            return []
        return [self._stats(before, samples, busy, seconds, alive, bool(others))]

    def _works_for(self, worker: MappedPage, leader: ScriptRank) -> bool:
        """Whether a data worker is the leader's, as far as its parent tells: a fork server stands between them."""
        parents = {rank.page.pid for rank in self._ranks.values()}
        return worker.parent == leader.page.pid or worker.parent not in parents

    def _stats(
        self, before: WorkerSums, samples: float, busy: float, seconds: float, alive: list[MappedPage], workers: bool
    ) -> LoaderStats:
        now = self._workers
        cpu = now.cpu - before.cpu
        delay = difference(now.run_delay, before.run_delay)
        chars = difference(now.read_chars, before.read_chars)
        disk = difference(now.disk_bytes, before.disk_bytes)
        waited = None if delay is None else max(0.0, busy - cpu - delay)
        lock = self._locks.take_share()
        return LoaderStats(
            workers=len(alive),
            kind="processes" if workers else "inline",
            seconds=seconds,
            samples=round(samples),
            busy=min(1.0, busy / (seconds * len(alive))),
            cpu_ratio=min(1.0, cpu / busy) if busy else None,
            run_delay=min(1.0, delay / busy) if busy and delay is not None else None,
            read_share=read_share(busy, waited, lock, seconds * len(alive)),
            bytes_read=round(chars) if chars is not None else None,
            disk_bytes=round(disk) if disk is not None else None,
            lock_share=lock,
            draws=any(page.slots[layout.DRAWS] > 0 for page in alive),
            slowest=slowest_sample(alive),
        )


def _why_silent(pages: list[MappedPage]) -> str:
    trainers = [page for page in pages if not page.is_worker]
    begun = f"no step seen for {SILENT_SECONDS:.0f} s: monitoring only; "
    if not trainers:
        return begun + (
            "no Python process of the command used torch so far, or the probe is kept out "
            "(python -I, -E or -S, a cleaned environment, a frozen executable, a container, another host)"
        )
    if any(page.slots[layout.BACKWARDS] > 0 for page in trainers):
        return begun + "there were backward passes but no optimizer step"
    return begun + (
        "torch is loaded, but there was no backward pass and no optimizer step yet; "
        "a script that updates its weights by hand can report its steps (gputrain.report)"
    )


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
