"""Hooks of torch's DataLoader in the process that trains: how long the loop waits, and for what.

Nothing here touches a random number generator, keeps a batch alive, or changes what is returned or raised.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import layout
from .fetches import Fetches, get_ident
from .loader_change import LoaderChange, draw_for_pass, go_on, matching_draws
from .loader_words import LoaderFacts, first_dimension, has_indices, maker, starter, words
from .page import Page, Probe, hide_frame
from .steps import FETCHED, ODD, READY, Steps, clock


class Pass:
    """What an iterator carries: one attribute of it, as each step looks it up."""

    __slots__ = ("fetches", "indexed", "lengths", "loader", "plain", "second")

    def __init__(self, iterator: Any) -> None:
        self.fetches: Fetches | None = None
        """None while the iterator is being made."""
        self.loader: Callable[[], Any] = lambda: None
        self.indexed = has_indices(iterator)
        """The length of an index is that of its batch."""
        self.lengths: deque[float] = deque()
        """Samples of the batches that are on their way."""
        self.second: Any | None = None
        """The iterator that goes on in place of this one after a change of workers."""
        self.plain = False
        """The pass is known, there is no second iterator, and torch has nothing to warn of."""


def _pass_of(iterator: Any) -> Pass:
    found = iterator.__dict__.get("_gputrain")
    if found is None:
        found = iterator._gputrain = Pass(iterator)
    return found  # type: ignore[no-any-return]


class LoaderHooks:
    """Installed into ``torch.utils.data.dataloader``."""

    def __init__(self, probe: Probe, steps: Steps) -> None:
        self._probe = probe
        self._steps = steps
        self._known: weakref.WeakKeyDictionary[Any, LoaderFacts] = weakref.WeakKeyDictionary()
        self._change = LoaderChange(probe)
        self._grad_enabled: Callable[[], bool] = lambda: True

    def install(self, module: Any) -> None:
        """Patch the module's classes."""
        self._grad_enabled = sys.modules["torch"].is_grad_enabled
        self._patch_setattr(module.DataLoader)
        self._patch_get_iterator(module.DataLoader)
        self._patch_reset(module._MultiProcessingDataLoaderIter)
        # What an iterator carries that is not known.
        module._BaseDataLoaderIter._gputrain = None
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
                    known[loader] = _made(value, known)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader place", error)

        kind.__setattr__ = __setattr__

    def _patch_get_iterator(self, kind: Any) -> None:
        original = kind._get_iterator
        probe = self._probe

        def _get_iterator(loader: Any) -> Any:
            try:
                with matching_draws(loader):
                    iterator = original(loader)
            except BaseException as error:
                hide_frame(error)
                raise
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
                try:
                    _pass_of(iterator).lengths.clear()
                    draw_for_pass(loader)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("loader", error)
            result = original(iterator, loader, first_iter, *args, **kwargs)
            if not first_iter and "loader" not in probe.off:
                try:
                    one = _pass_of(iterator)
                    one.second = None
                    if one.fetches is not None:
                        one.fetches.ended = one.fetches.ended or clock()
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
        if facts.unread() is not None:
            # Its workers make samples for nothing, and the order of the next pass is another one.
            facts.started_twice = starter(3)
        facts.unread = weakref.ref(iterator)
        facts.words = words(loader, facts)
        # ``for x in DataLoader(…)`` keeps the iterator alone. A loader that keeps its iterator must not be kept by it,
        # or its workers would live on until the garbage collector finds both.
        one = _pass_of(iterator)
        keeps = loader.persistent_workers or type(iterator).__module__ != "torch.utils.data.dataloader"
        one.loader = weakref.ref(loader) if keeps else lambda: loader
        one.fetches = Fetches(facts, weakref.ref(iterator))
        one.plain = iterator.__dict__.get("_IterableDataset_len_called") is None
        page.slots[layout.LOADERS] += 1
        self._steps.pass_begins(page, clock())

    def _patch_next_index(self, kind: Any) -> None:
        """How many samples a batch has: the length of its indices, in the order in which they are drawn."""
        original = kind._next_index
        probe, off = self._probe, self._probe.off

        def _next_index(iterator: Any) -> Any:
            index = original(iterator)
            if "samples" not in off:
                try:
                    # An iterator draws its first indices while it is being made.
                    mine = iterator._gputrain or _pass_of(iterator)
                    if mine.indexed:
                        # A sampler of batches may give anything that the data set takes.
                        mine.indexed = hasattr(index, "__len__")
                        if mine.indexed:
                            mine.lengths.append(len(index))
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("samples", error)
            return index

        kind._next_index = _next_index

    def _patch_next(self, kind: Any) -> None:
        original = kind.__next__
        probe, off, steps, grad_enabled = self._probe, self._probe.off, self._steps, self._grad_enabled

        def __next__(iterator: Any) -> Any:
            asked = clock()
            mine = iterator._gputrain
            try:
                plain = mine is not None and mine.plain
                batch = original(iterator) if plain else _unusual(original, iterator, mine)
            except StopIteration:
                current = iterator if mine is None or mine.second is None else mine.second
                if "_gputrain_rest" not in current.__dict__:
                    self._pass_ends(mine)
                    raise
                second = go_on(current)
                if mine is not None:
                    mine.second, mine.plain = second, False
                batch = original(second)
            except BaseException as error:
                hide_frame(error)
                raise
            now = clock()
            if mine is not None:
                try:
                    if (
                        steps.stage == READY
                        and steps.usual is mine.fetches
                        and mine.plain
                        and grad_enabled()
                        and get_ident() == steps.thread
                    ):
                        steps.asked, steps.delivered, steps.number = asked, now, iterator._num_yielded
                        steps.length = mine.lengths.popleft() if mine.lengths else first_dimension(batch)
                        steps.stage = FETCHED
                    elif probe.page is not None and mine.fetches is not None and "loader" not in off:
                        self._fetched(probe.page, mine, iterator, batch, asked, now)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    steps.stage = ODD
                    probe.failed("loader", error)
            return batch

        kind.__next__ = __next__

    def _pass_ends(self, mine: Pass | None) -> None:
        page = self._probe.page
        if page is None or mine is None or mine.fetches is None or "loader" in self._probe.off:
            return
        try:
            self._steps.interrupt(page)
            self._steps.pass_ends(page, mine.fetches, clock())
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("loader", error)

    def _fetched(self, page: Page, mine: Pass, iterator: Any, batch: Any, asked: float, now: float) -> None:
        one, second, lengths = mine.fetches, mine.second, mine.lengths
        assert one is not None
        facts = one.facts
        if second is not None:
            lengths = _pass_of(second).lengths
            iterator._num_yielded = second._num_yielded
        length = lengths.popleft() if lengths else first_dimension(batch)
        number = iterator._num_yielded
        trains, steps = self._grad_enabled(), self._steps
        steps.interrupt(page)
        if trains:
            steps.fetched(page, one, asked, now, length, number)
        else:
            steps.validated(page, asked)
        if page.slots[layout.WANTED] != page.slots[layout.ANSWERED] and facts.trained:
            current = iterator if second is None else second
            self._change.apply(page, mine.loader(), current, sys.modules["torch.utils.data.dataloader"])
        if number == 1:
            facts.passes += 1
            facts.unread = _nothing
            page.say(kind="loader", grad=trains, passes=facts.passes, twice=facts.started_twice, **facts.words)


def _nothing() -> None:
    return None


def _made(dataset: Any, known: Any) -> LoaderFacts:
    """Where a loader is being made. One that a package makes of a loader of the script stands for that one."""
    place, framework = maker(3)
    if framework:
        for other, facts in list(known.items()):
            if getattr(other, "dataset", None) is dataset and facts.place[0]:
                return LoaderFacts(facts.place, facts.framework)
    return LoaderFacts(place, framework)


def _unusual(original: Callable[[Any], Any], iterator: Any, mine: Pass | None) -> Any:
    """The next batch of an iterator that is not `Pass.plain`."""
    try:
        if mine is not None and mine.second is not None:
            return original(mine.second)
        length = iterator.__dict__.get("_IterableDataset_len_called")
        return original(iterator) if length is None else _counted(original, iterator, length)
    except BaseException as error:
        hide_frame(error)
        raise


def _counted(original: Callable[[Any], Any], iterator: Any, length: int) -> Any:
    """The next batch of an IterableDataset with a length. torch warns its caller of a wrong one: that is the script."""
    if iterator._num_yielded < length:
        return original(iterator)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batch = original(iterator)
    frame = sys._getframe(3)
    names = frame.f_globals
    registry = names.setdefault("__warningregistry__", {})
    for one in caught:
        warnings.warn_explicit(
            one.message, one.category, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"), registry
        )
    return batch
