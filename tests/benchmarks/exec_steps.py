"""A training loop whose hooks are put on and off in one process, every few steps; prints JSON.

``exec_steps.py HOOKS MILLISECONDS TURNS``; HOOKS: ``loop`` (those of the process that trains), ``fetch`` (those around
the making of a batch), or ``traceml`` (its ``trace_step`` around the step). Printed are the microseconds of each step
without and with hooks, by the CPU time of this thread and by the wall clock.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset, dataloader

BATCH = 64
_EACH = 4
"""Steps that are timed after a switch; one before them is not, as it finds cold caches."""
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
    return [(iterator, "__next__"), (iterator, "_next_index"), (torch.autograd, "backward")]


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


def main(kind: str, milliseconds: float, turns: int) -> None:
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

    def timed(around: Callable[[], contextlib.AbstractContextManager[None]]) -> tuple[float, float]:
        cpu, wall = time.thread_time(), time.perf_counter()
        with around():
            step()
        return (time.thread_time() - cpu) * 1e6, (time.perf_counter() - wall) * 1e6

    plain = contextlib.nullcontext
    for _ in range(20):
        step()
    while min(timed(plain)[0] for _ in range(9)) < 900 * milliseconds:
        repeats = max(repeats + 1, round(repeats * 1.1))
    traced: Callable[[], contextlib.AbstractContextManager[None]] = plain
    if kind == "traceml":
        traced = functools.partial(importlib.import_module("traceml_ai").trace_step, model)
        switch: Switch = bool
    else:
        switch = switch_of(kind)
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for turn in range(2 * turns):
        # off, on, on, off: a drift of the clock speed meets both.
        on = turn % 4 in (1, 2)
        switch(on)
        timed(traced if on else plain)
        found[on] += [timed(traced if on else plain) for _ in range(_EACH)]
    print("STEPS", json.dumps([found[False], found[True]]))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
