"""A change of a DataLoader's workers while it is read: the same indices in the same order, each sample once.

The iterator that the script's loop holds stays. It gets no more indices, hands out what it has in work, and from then
on passes each call to a second iterator, which goes on with the same sampler. No number is drawn from a generator of
the script: the second iterator's seed comes from a generator of its own.
"""

from __future__ import annotations

import copy
import io
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator
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
_SETTINGS = ("num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "timeout")
_NOT_SHARED = ("h5py", "lmdb", "sqlite3", "_sqlite3")
"""Packages whose open files and databases a forked process must not use."""
_MOST_OBJECTS, _MOST_PARTS = 500, 20
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
        """Answer the request that waits, for `iterator` of `loader`; `module` is torch's data loader module.

        While an earlier change is still handing out the batches of the old workers, the request waits.
        """
        slots = page.slots
        number = slots[layout.WANTED]
        try:
            if "_gputrain_rest" in iterator.__dict__ or not _is_meant(loader, slots[layout.WANTED_BATCHES]):
                return
            workers = slots[layout.WANTED_WORKERS]
            why = refusal(loader, iterator, module) or cannot_start(loader, workers) or cannot_share(loader, workers)
            if why:
                page.say(kind="change", number=number, refused=why)
                slots[layout.ANSWER] = -1.0
            else:
                settings = settings_of(loader)
                change_settings(loader, slots)
                replace_iterator(loader, iterator, module, settings, _Failure(page, number))
                page.say(kind="change", number=number, exact=order_is_kept(loader), workers=loader.num_workers)
                slots[layout.ANSWER] = IN_EFFECT
        except Exception as error:  # noqa: BLE001 - the script comes first
            page.say(kind="change", number=number, refused=repr(error)[:300])
            slots[layout.ANSWER] = -1.0
        slots[layout.ANSWERED] = number


class _Failure:
    """Says that a change that was in effect could not be carried out."""

    def __init__(self, page: Page, number: float) -> None:
        self._page = page
        self._number = number

    def __call__(self, error: BaseException) -> None:
        """The new workers could not be started."""
        try:
            why = "the new workers cannot be started: " + repr(error)[:200]
            self._page.say(kind="change", number=self._number, refused=why)
        except Exception:  # noqa: BLE001, S110 - the script comes first
            pass


def _is_meant(loader: Any, batches: float) -> bool:
    """Whether a request for a loader of `batches` batches is for this one. A script may train on several."""
    if batches <= 0 or loader is None:
        return True
    try:
        return float(len(loader)) == batches
    except Exception:  # noqa: BLE001 - a sampler without a length, or with one that raises
        return True


def cannot_start(loader: Any, workers: float) -> str:
    """Why this process should not start its first workers; empty if it can, or has started some before."""
    if workers <= 0 or loader.num_workers > 0:
        return ""
    context = loader.multiprocessing_context
    # Asking for the method itself would fix it, and the script could no longer set it.
    method = context.get_start_method() if context is not None else multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    if method == "fork":
        return ""
    # A script that was never meant for it would run from its start in each of them.
    return "workers are started by %s here, which a script without workers may not be made for" % method


def cannot_share(loader: Any, workers: float) -> str:
    """Why the data set is not for several processes, where there was one; empty if nothing speaks against it."""
    if workers <= 0 or loader.num_workers > 0:
        return ""
    held = _open_file(loader.dataset)
    return "the data set holds %s open: workers would read it from one shared position" % held if held else ""


def _open_file(dataset: Any) -> str:
    """An open file, archive or database within the data set, as an expression; empty if none is found."""
    found, known = deque([("dataset", dataset)]), {id(dataset)}
    while found and len(known) < _MOST_OBJECTS:
        name, one = found.popleft()
        if _is_open(one):
            return name
        if isinstance(one, dict):
            parts = [("%s[%r]" % (name, key), value) for key, value in list(one.items())[:_MOST_PARTS]]
        elif isinstance(one, (list, tuple)):
            parts = [("%s[%d]" % (name, at), value) for at, value in enumerate(one[:_MOST_PARTS])]
        else:
            parts = [("%s.%s" % (name, key), value) for key, value in getattr(one, "__dict__", {}).items()]
        for part in parts:
            if id(part[1]) not in known and not isinstance(part[1], (str, bytes, int, float, type, type(sys))):
                known.add(id(part[1]))
                found.append(part)
    return ""


def _is_open(one: Any) -> bool:
    if type(one).__module__.partition(".")[0] in _NOT_SHARED:
        return True
    return isinstance(one, io.IOBase) and not isinstance(one, (io.BytesIO, io.StringIO)) and not one.closed


def settings_of(loader: Any) -> dict[str, Any]:
    """What `change_settings` may change."""
    return {name: getattr(loader, name) for name in _SETTINGS}


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
    sampler, batches = loader.sampler, loader.batch_sampler
    if batches is not None:
        if type(batches).__name__ != "BatchSampler" or not _is_torchs(batches):
            return False
        sampler = batches.sampler
    if getattr(sampler, "replacement", False) and getattr(sampler, "generator", None) is not None:
        # Drawn bit by bit, from a generator that others may draw from, too.
        return type(sampler).__name__ == "WeightedRandomSampler" and _is_torchs(sampler)
    name, module = type(sampler).__name__, type(sampler).__module__
    # Accelerate's own seeds its generator and then draws as torch's does.
    seeded = name == "SeedableRandomSampler" and module.startswith("accelerate.")
    return seeded or (name in _KNOWN_SAMPLERS and _is_torchs(sampler))


def _is_torchs(one: Any) -> bool:
    return type(one).__module__.startswith("torch.utils.data")


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


def replace_iterator(
    loader: Any, iterator: Any, module: Any, before: dict[str, Any], failed: Callable[[BaseException], None]
) -> None:
    """Let `iterator` hand out what it has in work, and then what a new one makes of the same sampler's rest.

    `before`: the settings that worked, for the case that new workers can't be started; that is then said to `failed`.
    """
    rest = iterator._sampler_iter
    iterator._sampler_iter = iter(())
    iterator._gputrain_rest = (loader, rest, module, before, failed)
    # What is kept for the next pass belongs to the old workers.
    if loader._iterator is iterator:
        loader._iterator = None


def go_on(iterator: Any) -> Any:
    """The second iterator, made when the first has nothing left in work."""
    loader, rest, module, before, failed = iterator.__dict__.pop("_gputrain_rest")
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
    try:
        second = _iterator_of(loader, rest, module)
    except Exception as error:  # noqa: BLE001 - a data set that can't be pickled, a process that may have no children
        # Workers are started before the first index is drawn, so that nothing is lost.
        failed(error)
        for name, value in before.items():
            object.__setattr__(loader, name, value)
        second = _iterator_of(loader, rest, module)
    second._num_yielded = iterator._num_yielded
    if loader.persistent_workers:
        # The next pass begins with these workers; its order comes from the loader's own sampler.
        loader._iterator = second
    return second


def _iterator_of(loader: Any, rest: Any, module: Any) -> Any:
    twin = copy.copy(loader)
    index = "batch_sampler" if loader._auto_collation else "sampler"
    object.__setattr__(twin, index, _Rest(getattr(loader, index), rest))
    object.__setattr__(twin, "generator", module.torch.Generator())
    kind = module._MultiProcessingDataLoaderIter if loader.num_workers else module._SingleProcessDataLoaderIter
    second = kind(twin)
    second._index_sampler = loader._index_sampler
    return second
