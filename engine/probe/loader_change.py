"""A change of a DataLoader's workers while it is read: the same indices in the same order, each sample once.

The iterator that the script's loop holds stays. It gets no more indices, hands out what it has in work, and from then
on passes each call to a second iterator, which goes on with the same sampler. No number is drawn from a generator of
the script: the second iterator's seed comes from a generator of its own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import layout
from .page import Page, Probe

_KNOWN_SAMPLERS = (
    "RandomSampler",
    "SequentialSampler",
    "DistributedSampler",
    "WeightedRandomSampler",
    "SubsetRandomSampler",
)
IN_EFFECT, NEXT_PASS = 1.0, 2.0


class _Rest:
    """Stands for a sampler whose iterator is in use already."""

    def __init__(self, sampler: Any, iterator: Any) -> None:
        self._sampler = sampler
        self._iterator = iterator

    def __iter__(self) -> Any:
        return self._iterator

    def __len__(self) -> int:
        return len(self._sampler)


class LoaderChange:
    """Takes requests from the page of the process and puts them into effect in the loader that is trained on."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def apply(self, page: Page, loader: Any, iterator: Any, module: Any) -> None:
        """Answer the request that waits, for `iterator` of `loader`; `module` is torch's data loader module."""
        slots = page.slots
        number = slots[layout.WANTED]
        try:
            why = refusal(loader, iterator, module)
            if why:
                page.say(kind="change", number=number, refused=why)
                slots[layout.ANSWER] = -1.0
            else:
                change_settings(loader, slots)
                replace_iterator(loader, iterator, module)
                page.say(kind="change", number=number, exact=order_is_kept(loader), workers=loader.num_workers)
                slots[layout.ANSWER] = IN_EFFECT
        except Exception as error:  # noqa: BLE001 - the script comes first
            page.say(kind="change", number=number, refused=repr(error)[:300])
            slots[layout.ANSWER] = -1.0
        slots[layout.ANSWERED] = number


def refusal(loader: Any, iterator: Any, module: Any) -> str:
    """Why the workers of this loader can't be changed while it is read; empty if they can."""
    if loader is None:
        return "the loader is gone"
    if loader._dataset_kind != 0:
        return "an IterableDataset gives other samples with another number of workers"
    if type(iterator) not in (module._SingleProcessDataLoaderIter, module._MultiProcessingDataLoaderIter):
        return "the loader has an iterator of its own kind: " + type(iterator).__qualname__
    if not getattr(loader, "in_order", True):
        return "in_order=False: the order is that of the workers"
    return ""


def order_is_kept(loader: Any) -> bool:
    """Whether the sampler draws all at its start, so that it does not matter how far ahead it is read."""
    sampler = getattr(loader.batch_sampler, "sampler", None) if loader.batch_sampler is not None else loader.sampler
    kind = type(sampler)
    return kind.__module__.startswith("torch.utils.data") and kind.__name__ in _KNOWN_SAMPLERS


def change_settings(loader: Any, slots: Any) -> None:
    """Set what was asked for; -1 leaves a setting as it is. The next passes over the loader begin with these."""
    workers, prefetch = int(slots[layout.WANTED_WORKERS]), int(slots[layout.WANTED_PREFETCH])
    if "_gputrain_kept" not in loader.__dict__:
        # What the script itself would do at each pass: torch draws a seed where workers are made anew.
        object.__setattr__(loader, "_gputrain_kept", bool(loader.persistent_workers and loader.num_workers > 0))
    if workers >= 0:
        loader.num_workers = workers
    if loader.num_workers == 0:
        loader.prefetch_factor = None
        # A loader without workers refuses to keep them; the attribute itself can't be set by its own rules.
        object.__setattr__(loader, "persistent_workers", False)
        loader.timeout = 0
    else:
        if prefetch > 0:
            loader.prefetch_factor = prefetch
        elif loader.prefetch_factor is None:
            loader.prefetch_factor = 2
        if slots[layout.WANTED_PERSISTENT] >= 0:
            object.__setattr__(loader, "persistent_workers", bool(slots[layout.WANTED_PERSISTENT]))
    if slots[layout.WANTED_PIN] >= 0:
        loader.pin_memory = bool(slots[layout.WANTED_PIN])


@contextmanager
def matching_draws(loader: Any) -> Iterator[None]:
    """A new iterator draws its workers' seed; not from the script's generator where its own would have been kept."""
    if not loader.__dict__.get("_gputrain_kept"):
        yield
        return
    own = loader.generator
    object.__setattr__(loader, "generator", sys.modules["torch"].Generator())
    try:
        yield
    finally:
        object.__setattr__(loader, "generator", own)


def draw_for_pass(loader: Any) -> None:
    """Kept workers draw no seed; where the script's own would have been made anew, they had drawn one."""
    if loader.__dict__.get("_gputrain_kept") is False:
        torch = sys.modules["torch"]
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)


def replace_iterator(loader: Any, iterator: Any, module: Any) -> None:
    """Let `iterator` hand out what it has in work, and then what a new one makes of the same sampler's rest."""
    rest = iterator._sampler_iter
    iterator._sampler_iter = iter(())
    iterator._gputrain_rest = (loader, rest, module)
    # What is kept for the next pass belongs to the old workers.
    if loader._iterator is iterator:
        loader._iterator = None


def go_on(iterator: Any) -> Any:
    """The second iterator, made when the first has nothing left in work."""
    loader, rest, module = iterator.__dict__.pop("_gputrain_rest")
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
    torch = module.torch
    twin = copy.copy(loader)
    index = "batch_sampler" if loader._auto_collation else "sampler"
    object.__setattr__(twin, index, _Rest(getattr(loader, index), rest))
    object.__setattr__(twin, "generator", torch.Generator())
    kind = module._MultiProcessingDataLoaderIter if loader.num_workers else module._SingleProcessDataLoaderIter
    second = kind(twin)
    second._index_sampler = loader._index_sampler
    second._num_yielded = iterator._num_yielded
    if loader.persistent_workers:
        # The next pass begins with these workers; its order comes from the loader's own sampler.
        loader._iterator = second
    return second
