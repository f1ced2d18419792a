"""Plausible events of a scripted run on several devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from gputrain.engine.events import AnyEvent, GpuProcess, HardwareSample, ModelReady, RankSteps, RunStarted, Steps
from helpers.tui import scripted

STEP = 0.4
"""Seconds of a step of the fast ranks."""
EXCHANGE = 0.02
"""Seconds of its exchange that nothing hides."""


@dataclass
class RankRun:
    """A run of `count` ranks, `per_node` on each machine."""

    count: int
    per_node: int = 8
    slow: dict[int, float] = field(default_factory=dict)
    """Extra seconds of a step by rank."""
    hungry: Sequence[int] = ()
    """Ranks whose extra seconds are spent waiting for data."""
    clocks: dict[int, int] = field(default_factory=dict)
    """SM clock in MHz by GPU of the first machine."""
    neighbours: dict[int, str] = field(default_factory=dict)
    """Another program by GPU of the first machine."""

    def host(self, rank: int) -> str:
        return "atlas" if rank < self.per_node else f"node-{rank // self.per_node:02d}"

    def start(self) -> list[AnyEvent]:
        """Everything before the first step, unstamped."""
        return [self._of_ranks(event) for event in scripted.start(min(self.per_node, self.count))]

    def _of_ranks(self, event: AnyEvent) -> AnyEvent:
        match event:
            case RunStarted():
                return replace(event, settings={**event.settings, "devices": self.count})
            case ModelReady():
                return replace(event, ranks=self.count)
        return event

    def second(self, number: int, every: float = 1.0) -> Iterator[AnyEvent]:
        """The events of one second, unstamped: steps of all ranks, and a sample of the first machine."""
        longest = STEP + EXCHANGE + max([0.0, *self.slow.values()])
        steps = max(1, round(every / longest))
        for rank in range(self.count):
            # A little noise, the same in each replay.
            own = STEP * (1 + 0.01 * ((rank * 7 + number * 13) % 5 - 2) / 2) + self.slow.get(rank, 0.0)
            wait = self.slow.get(rank, 0.0) if rank in self.hungry else 0.01
            away = rank >= self.per_node
            times = RankSteps(
                rank=rank,
                window_steps=steps,
                window_seconds=steps * longest,
                data_wait=steps * wait,
                compute=steps * (own - wait),
                exchange=steps * max(0.0, longest - own),
                host=self.host(rank) if away else "",
                gpu=rank % self.per_node if away else None,
            )
            yield times if rank else self._of_rank_0(number, times, 256 * self.count / longest)
        yield self._sample(number)

    def _of_rank_0(self, number: int, times: RankSteps, rate: float) -> Steps:
        return replace(
            scripted.steps(number),
            window_steps=times.window_steps,
            window_seconds=times.window_seconds,
            data_wait=times.data_wait,
            compute=times.compute,
            exchange=times.exchange,
            copy=0.0,
            other=0.0,
            images_per_second=rate,
        )

    def _sample(self, number: int) -> HardwareSample:
        sample = scripted.hardware(number, gpus=min(self.per_node, self.count))
        gpus = []
        for gpu in sample.gpus:
            clock = self.clocks.get(gpu.index, 1695)
            own = (GpuProcess(pid=4400 + gpu.index, ours=True, name="python"),)
            other = self.neighbours.get(gpu.index)
            named = (GpuProcess(pid=99, name=other, user="bob"),) if other else ()
            throttle = ("software thermal",) if clock < 1500 else ()
            gpus.append(replace(gpu, sm_clock=clock, cuda_index=gpu.index, processes=(*own, *named), throttle=throttle))
        return replace(sample, gpus=tuple(gpus))

    def events(self, seconds: int) -> list[AnyEvent]:
        """A start and so many seconds of training, numbered and timed."""
        script = scripted.Script()
        found = [script.at(event, 0.5) for event in self.start()]
        for number in range(seconds):
            for place, event in enumerate(self.second(number)):
                found.append(script.at(event, 1.0 if place == 0 else 0.0))
        return found
