"""A plain PyTorch training script, as a user would write it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from faulty_data import arguments, images, network
from torch.utils.data import DataLoader


def main() -> None:
    """Train until the time is over."""
    options = arguments()
    data = images(options)
    model = network(options.layers)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loader = DataLoader(
        data, batch_size=options.batch, shuffle=True, num_workers=options.workers, persistent_workers=options.persistent
    )
    step: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    if options.traceml:
        import traceml_ai

        traceml_ai.init(mode="auto")
        step = functools.partial(traceml_ai.trace_step, model)

    until = time.monotonic() + options.seconds
    for epoch in range(1000):
        for x, y in loader:
            with step():
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x), y)
                loss.backward()
                time.sleep(options.step)
                optimizer.step()
            if time.monotonic() > until:
                print(f"epoch {epoch}, loss {loss.item():.3f}")
                return


if __name__ == "__main__":
    main()
