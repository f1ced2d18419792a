"""Hooks of torch's DataLoader in the process that trains: how long the loop waits, and for what.

Nothing here touches a random number generator, keeps a batch alive, or changes what is returned or raised.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import layout
from .loader_change import LoaderChange, draw_for_pass, go_on, matching_draws, order_is_kept
from .page import Probe
from .steps import Fetches, Steps, clock

_LIBRARY = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep, "<frozen")


class LoaderFacts:
    """What is known of one DataLoader."""

    __slots__ = ("fetches", "passes", "place", "trained", "words")

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        """File and line where it was made."""
        self.fetches = Fetches()
        self.passes = 0
        self.words: dict[str, Any] = {}
        """Its settings, as this pass began with them."""
        self.trained = False
        """Its batches were followed by backward passes."""


class Pass:
    """What an iterator carries: one attribute of it, as each step looks it up."""

    __slots__ = ("facts", "lengths", "loader", "second")

    def __init__(self) -> None:
        self.facts: LoaderFacts | None = None
        """None while the iterator is being made."""
        self.loader: Callable[[], Any] = lambda: None
        self.lengths: deque[float] = deque()
        """Samples of the batches that are on their way."""
        self.second: Any | None = None
        """The iterator that goes on in place of this one after a change of workers."""


def _pass_of(iterator: Any) -> Pass:
    found = iterator.__dict__.get("_gputrain")
    if found is None:
        found = iterator._gputrain = Pass()
    return found  # type: ignore[no-any-return]


class LoaderHooks:
    """Installed into ``torch.utils.data.dataloader``."""

    def __init__(self, probe: Probe, steps: Steps) -> None:
        self._probe = probe
        self._steps = steps
        self._known: weakref.WeakKeyDictionary[Any, LoaderFacts] = weakref.WeakKeyDictionary()
        self._change = LoaderChange(probe)
        self._grad: Callable[[], bool] = lambda: True

    def install(self, module: Any) -> None:
        """Patch the module's classes."""
        self._grad = sys.modules["torch"].is_grad_enabled
        self._patch_setattr(module.DataLoader)
        self._patch_get_iterator(module.DataLoader)
        self._patch_reset(module._MultiProcessingDataLoaderIter)
        self._patch_next_index(module._BaseDataLoaderIter)
        self._patch_next(module._BaseDataLoaderIter)

    def install_stateful(self, module: Any) -> None:
        """``torchdata.stateful_dataloader.stateful_dataloader``: a DataLoader that makes its iterators itself."""
        self._patch_get_iterator(module.StatefulDataLoader)
        self._patch_reset(module._StatefulMultiProcessingDataLoaderIter)

    def _facts(self, loader: Any) -> LoaderFacts:
        facts = self._known.get(loader)
        if facts is None:
            facts = self._known[loader] = LoaderFacts(("", 0))
        return facts

    def _patch_setattr(self, kind: Any) -> None:
        """Where a loader is made: its constructor sets `dataset` first. Wrapping it would show in warnings."""
        original = kind.__setattr__
        probe, known = self._probe, self._known

        def __setattr__(loader: Any, name: str, value: Any) -> None:
            original(loader, name, value)
            if name == "dataset" and "loader place" not in probe.off:
                try:
                    known[loader] = LoaderFacts(_caller())
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader place", error)

        kind.__setattr__ = __setattr__

    def _patch_get_iterator(self, kind: Any) -> None:
        original = kind._get_iterator
        probe = self._probe

        def _get_iterator(loader: Any) -> Any:
            with matching_draws(loader):
                iterator = original(loader)
            if "loader" not in probe.off:
                try:
                    self._pass_begins(loader, iterator)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader", error)
            return iterator

        kind._get_iterator = _get_iterator

    def _patch_reset(self, kind: Any) -> None:
        """A further pass with workers that were kept."""
        original = kind._reset
        probe = self._probe

        def _reset(iterator: Any, loader: Any, first_iter: bool = False, *args: Any, **kwargs: Any) -> Any:
            if not first_iter:
                _pass_of(iterator).lengths.clear()
                draw_for_pass(loader)
            result = original(iterator, loader, first_iter, *args, **kwargs)
            if not first_iter and "loader" not in probe.off:
                try:
                    _pass_of(iterator).second = None
                    self._pass_begins(loader, iterator)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader", error)
            return result

        kind._reset = _reset

    def _pass_begins(self, loader: Any, iterator: Any) -> None:
        page = self._probe.trainer_page()
        if page is None:
            return
        facts = self._facts(loader)
        facts.passes += 1
        facts.words = _words(loader, facts)
        # ``for x in DataLoader(…)`` keeps the iterator alone. A loader that keeps its iterator must not be kept by it,
        # or its workers would live on until the garbage collector finds both.
        one = _pass_of(iterator)
        keeps = loader.persistent_workers or type(iterator).__module__ != "torch.utils.data.dataloader"
        one.facts, one.loader = facts, weakref.ref(loader) if keeps else _Held(loader)
        page.slots[layout.LOADERS] += 1
        self._steps.pass_begins(page, clock())

    def _patch_next_index(self, kind: Any) -> None:
        """How many samples a batch has: the length of its indices, in the order in which they are drawn."""
        original = kind._next_index
        probe = self._probe

        def _next_index(iterator: Any) -> Any:
            index = original(iterator)
            if "samples" not in probe.off:
                try:
                    # An iterator draws its first indices while it is being made.
                    _pass_of(iterator).lengths.append(_samples_of(index, iterator))
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("samples", error)
            return index

        kind._next_index = _next_index

    def _patch_next(self, kind: Any) -> None:
        original = kind.__next__
        probe, steps, grad, change = self._probe, self._steps, self._grad, self._change

        def __next__(iterator: Any) -> Any:
            asked = clock()
            mine = iterator.__dict__.get("_gputrain")
            second = mine.second if mine is not None else None
            try:
                batch = original(iterator if second is None else second)
            except StopIteration:
                current = iterator if second is None else second
                if "_gputrain_rest" not in current.__dict__:
                    raise
                second = go_on(current)
                if mine is not None:
                    mine.second = second
                batch = original(second)
            now = clock()
            page = probe.page
            if page is not None and mine is not None and mine.facts is not None and "loader" not in probe.off:
                try:
                    facts, lengths = mine.facts, mine.lengths if second is None else _pass_of(second).lengths
                    if second is not None:
                        iterator._num_yielded = second._num_yielded
                    length = lengths.popleft() if lengths else -1.0
                    if length < 0.0:
                        length = _first_dimension(batch)
                    first = iterator._num_yielded == 1
                    trains = grad()
                    if trains:
                        facts.trained = facts.trained or facts.fetches.trained
                        steps.fetched(page, facts.fetches, asked, now, length, first)
                    else:
                        steps.validated(page, asked)
                    if page.slots[layout.WANTED] != page.slots[layout.ANSWERED] and facts.trained:
                        current = iterator if second is None else second
                        change.apply(page, mine.loader(), current, sys.modules["torch.utils.data.dataloader"])
                    if first:
                        page.say(kind="loader", grad=trains, **facts.words)
                    elif page.slots[layout.PHASE] != layout.VALIDATION:
                        page.slots[layout.EPOCH_BATCHES] = iterator._num_yielded
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader", error)
            return batch

        kind.__next__ = __next__


class _Held:
    """A reference that keeps the loader."""

    __slots__ = ("_loader",)

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __call__(self) -> Any:
        """The loader."""
        return self._loader


def _words(loader: Any, facts: LoaderFacts) -> dict[str, Any]:
    """Which loader it is, and its settings."""
    try:
        length = float(len(loader))
    except Exception:  # noqa: BLE001 - an IterableDataset without a length, or with one that raises
        length = -1.0
    return {
        "file": facts.place[0],
        "line": facts.place[1],
        "passes": facts.passes,
        "workers": loader.num_workers,
        "prefetch": loader.prefetch_factor,
        "persistent": bool(loader.persistent_workers),
        "pin_memory": bool(loader.pin_memory),
        "batch_size": getattr(loader, "batch_size", None),
        "iterable": loader._dataset_kind != 0,
        "order_kept": loader._dataset_kind == 0 and order_is_kept(loader),
        "type": type(loader).__module__ + "." + type(loader).__qualname__,
        "length": length,
    }


def _samples_of(index: Any, iterator: Any) -> float:
    """Samples that the indices of a batch stand for; -1 where only the batch can tell."""
    if not getattr(iterator, "_auto_collation", True) or iterator._dataset_kind != 0:
        return -1.0
    return float(len(index))


def _first_dimension(batch: Any) -> float:
    """Samples in a batch by its first tensor; 0 where there is none."""
    for _ in range(4):
        shape = getattr(batch, "shape", None)
        if shape is not None:
            return float(shape[0]) if len(shape) else 1.0
        if isinstance(batch, dict):
            batch = next(iter(batch.values()), None)
        elif isinstance(batch, (list, tuple)):
            batch = batch[0] if batch else None
        else:
            return 0.0
    return 0.0


def _caller() -> tuple[str, int]:
    """File and line of the newest frame that is the user's own."""
    frame: Any | None = sys._getframe(2)
    fallback = ("", 0)
    while frame is not None:
        name = frame.f_code.co_filename
        if not fallback[0] and os.sep + "torch" + os.sep not in name:
            fallback = (name, frame.f_lineno)
        if not any(part in name for part in _LIBRARY) and not name.startswith(sys.base_prefix + os.sep + "lib"):
            return (name, frame.f_lineno)
        frame = frame.f_back
    return fallback
