"""A training loop whose hooks are put on and off in one process, block by block; prints a JSON list of pairs.

``exec_steps.py HOOKS MILLISECONDS PAIRS``; HOOKS: ``loop`` (those of the process that trains), ``fetch`` (those around
the making of a batch), or ``traceml`` (its ``trace_step`` around the step). Each pair holds the microseconds of a step
without and with hooks, by the CPU time of this thread and by the wall clock.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset, dataloader

BATCH = 64
_BLOCK_SECONDS = 0.03
Switch = Callable[[bool], Any]


def original(function: Any) -> Any:
    """What a hook of ours wraps."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    return cells["original"].cell_contents


def patches(kind: str) -> list[tuple[Any, str]]:
    """Owner and name of the functions that are wrapped."""
    if kind == "fetch":
        return [(torch.utils.data._utils.fetch._MapDatasetFetcher, "fetch")]
    iterator = dataloader._BaseDataLoaderIter
    return [(iterator, "__next__"), (iterator, "_next_index"), (torch.Tensor, "backward")]


def switch_of(kind: str) -> Switch:
    """Puts the probe's hooks on and off."""
    wrapped = [(owner, name, getattr(owner, name)) for owner, name in patches(kind)]
    bare = [(owner, name, original(function)) for owner, name, function in wrapped]
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks
    kept = dict(hooks) if kind == "loop" else {}

    def switch(on: bool) -> None:
        for owner, name, function in wrapped if on else bare:
            setattr(owner, name, function)
        if kind == "loop":
            hooks.clear()
            hooks.update(kept if on else {})

    return switch


def batches() -> Iterator[Any]:
    """Batches without end; a new pass begins outside the measured blocks as seldom as possible."""
    data = TensorDataset(torch.randn(500_000, 64), torch.randint(0, 10, (500_000,)))
    while True:
        yield from DataLoader(data, batch_size=BATCH)


def main(kind: str, milliseconds: float, pairs: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    source = batches()
    repeats = 1

    def step() -> None:
        x, y = next(source)
        optimizer.zero_grad()
        for _ in range(repeats):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    def block(around: Callable[[], contextlib.AbstractContextManager[None]], count: int) -> tuple[float, float]:
        cpu, wall = time.thread_time(), time.perf_counter()
        for _ in range(count):
            with around():
                step()
        return (time.thread_time() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6

    plain = contextlib.nullcontext
    for _ in range(20):
        step()
    once = block(plain, 50)[0]
    repeats = 2
    each = max(1.0, block(plain, 50)[0] - once)
    repeats = max(1, round((milliseconds * 1000 - once) / each) + 1)
    traced: Callable[[], contextlib.AbstractContextManager[None]] = plain
    if kind == "traceml":
        import traceml_ai

        def traced() -> contextlib.AbstractContextManager[None]:
            context: contextlib.AbstractContextManager[None] = traceml_ai.trace_step(model)
            return context

        switch: Switch = bool
    else:
        switch = switch_of(kind)
    count = max(1, round(_BLOCK_SECONDS / milliseconds * 1000))
    found = []
    for number in range(pairs + 2):
        pair: dict[bool, tuple[float, float]] = {}
        for on in (False, True) if number % 2 else (True, False):
            switch(on)
            pair[on] = block(traced if on else plain, count)
        if number >= 2:
            found.append([*pair[False], *pair[True]])
    print("PAIRS", json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
