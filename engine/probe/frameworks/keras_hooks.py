"""Keras tells its callbacks what it does: epochs, batches, validation. With torch or JAX as its backend it fetches its
batches itself; with TensorFlow a batch is fetched inside the compiled step, so the wait for it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import layout
from ..page import Page, Probe, hide_frame
from ..steps import Steps, clock
from .scalar_hooks import ScalarHooks

_LOSS_SECONDS = 0.2


class KerasHooks:
    """Installed into ``keras.src.callbacks.callback_list`` and ``keras.src.trainers.epoch_iterator``."""

    def __init__(self, probe: Probe, steps: Steps, scalars: ScalarHooks) -> None:
        self._probe = probe
        self._steps = steps
        self._scalars = scalars
        self._batch_size = self._partial = self._batches = 0
        self._done = -1
        """Number of the newest batch of this epoch; with several steps in one execution it jumps."""
        self._read_at = 0.0
        self._testing = False

    def install(self, module: Any) -> None:
        """Follow the callbacks."""
        kind = module.CallbackList
        self._after(kind, "on_train_begin", self._train_begins)
        self._after(kind, "on_epoch_begin", self._epoch_begins)
        self._after(kind, "on_train_batch_begin", lambda page, _list, *_: self._steps.computes(clock()))
        self._after(kind, "on_train_batch_end", self._batch_ends)
        self._after(kind, "on_test_begin", lambda page, *_: self._tests(page, True))
        self._after(kind, "on_test_batch_end", self._test_batch_ends)
        self._after(kind, "on_test_end", lambda page, *_: self._tests(page, False))
        self._after(kind, "on_epoch_end", self._epoch_ends)

    def install_iterator(self, module: Any) -> None:
        """How many samples a batch has, as far as the data says it beforehand."""
        self._after(module.EpochIterator, "__iter__", self._iterated)

    def _after(self, kind: Any, method: str, call: Callable[..., None]) -> None:
        original = getattr(kind, method)
        probe = self._probe

        def wrapped(owner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                result = original(owner, *args, **kwargs)
            except BaseException as error:
                hide_frame(error)
                raise
            if "keras" not in probe.off:
                try:
                    page = probe.trainer_page()
                    if page is not None:
                        call(page, owner, *args, *kwargs.values())
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed("keras", error)
            return result

        wrapped.__name__, wrapped.__doc__ = original.__name__, original.__doc__
        wrapped.__wrapped__ = original  # type: ignore[attr-defined]
        setattr(kind, method, wrapped)

    def _train_begins(self, page: Page, *_: Any) -> None:
        # Keras has fetched a batch to build the model.
        self._steps.settle(page)
        self._steps.forget_batches()

    def _epoch_begins(self, page: Page, callbacks: Any, epoch: int, *_: Any) -> None:
        self._done = -1
        page.slots[layout.EPOCH] = epoch + 1
        page.slots[layout.EPOCH_BATCHES] = 0
        page.slots[layout.INSIDE] = 1.0
        page.slots[layout.EPOCH_LENGTH] = (callbacks.params or {}).get("steps") or 0
        self._steps.pass_begins(page, clock())

    def _iterated(self, page: Page, iterator: Any, *_: Any) -> None:
        if self._testing:
            return
        data = iterator.data_adapter
        self._batch_size, self._partial = _known(data, "batch_size"), _known(data, "partial_batch_size")
        self._batches = iterator.num_batches or 0

    def _batch_ends(self, page: Page, _callbacks: Any, batch: int, logs: Any = None) -> None:
        batch = min(batch, self._batches - 1) if self._batches else batch
        updates = max(1, batch - self._done)
        self._done = batch
        samples = updates * self._batch_size
        if self._partial and batch == self._batches - 1:
            samples -= self._batch_size - self._partial
        # A DataLoader's batches are counted where they are fetched.
        counted = page.slots[layout.LOADERS] > 0
        now = clock()
        loss = None
        if now - self._read_at > _LOSS_SECONDS:
            self._read_at = now
            loss = _on_host((logs or {}).get("loss"))
        self._steps.report(page, now, 0 if counted else samples, loss, updates)
        page.slots[layout.EPOCH_BATCHES] = batch + 1

    def _tests(self, page: Page, begins: bool) -> None:
        self._testing = begins
        self._steps.enter(page, clock(), begins)

    def _test_batch_ends(self, page: Page, *_: Any) -> None:
        if not page.slots[layout.LOADERS]:
            page.slots[layout.VALIDATION_BATCHES] += 1

    def _epoch_ends(self, page: Page, _callbacks: Any, epoch: int, logs: Any = None) -> None:
        self._scalars.say("keras", {name: _on_host(value) for name, value in (logs or {}).items()}, epoch)


def _known(data: Any, name: str) -> int:
    """A size of the data; 0 where it does not say."""
    try:
        return getattr(data, name) or 0
    except NotImplementedError:
        return 0


def _on_host(value: Any) -> float | None:
    """A number that can be read without waiting for a device."""
    if isinstance(value, (int, float)):
        return float(value)
    device = getattr(value, "device", None)
    on_host = getattr(device, "type", None) == "cpu" or str(device).upper().endswith("CPU:0")
    return float(value) if on_host else None
