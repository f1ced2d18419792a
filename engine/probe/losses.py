"""The loss and the learning rate of a script that logs neither: from backward passes and optimizers.

The loss is the tensor that the backward pass began with, before a GradScaler's factor. A script that divides it, as for
accumulated gradients, shows the divided one.
"""

from __future__ import annotations

from typing import Any

from . import layout


class Losses:
    """Nothing here waits for a device: a loss on one is not read."""

    def __init__(self) -> None:
        self._loss: Any | None = None
        self._scaled: tuple[int, Any] = (0, None)
        """Identity of the newest loss that a GradScaler has scaled, and the loss before that."""
        self.last = id(None)
        """Identity of the optimizer that made the newest update."""
        self._optimizers: list[int] = []
        """Identities of those that made updates, in the order of their first ones."""
        self._alternate = False
        """Several take turns, as in a GAN: one curve of their losses would mean nothing."""

    def reset(self) -> None:
        """A forked child begins anew."""
        self.__init__()  # type: ignore[misc]

    def scaled(self, loss: Any, result: Any) -> None:
        """A GradScaler made `result` of `loss`."""
        if result is not loss and hasattr(loss, "detach"):
            self._scaled = (id(result), loss.detach())

    def backward(self, loss: Any) -> None:
        """A backward pass began with `loss`, which is to be read."""
        which, unscaled = self._scaled
        self._loss = unscaled if which == id(loss) else loss.detach()

    def report(self, slots: Any, loss: float | None) -> None:
        """The script says what its loss is."""
        if loss is not None:
            self._loss = None
            slots[layout.LOSS], slots[layout.LOSS_UPDATE] = loss, slots[layout.UPDATES]

    def other(self, slots: Any, optimizer: Any) -> None:
        """Another optimizer made an update than the one before, or none is known."""
        if optimizer is None:
            return
        which = self.last = id(optimizer)
        if which not in self._optimizers:
            self._optimizers.append(which)
        elif not self._alternate:
            self._alternate = True
            slots[layout.LOSS_UPDATE] = -1.0

    def read(self, slots: Any, optimizer: Any, reported: bool) -> None:
        """An update ended that is looked at; `reported`: the script says itself what its updates are."""
        mixed = self._alternate and not reported
        loss, self._loss = self._loss, None
        if optimizer is not None and not (mixed and id(optimizer) != self._optimizers[0]):
            rate = optimizer.param_groups[0].get("lr")
            if isinstance(rate, float):
                slots[layout.LEARNING_RATE] = rate
        if loss is not None and not mixed and loss.device.type == "cpu" and loss.numel() == 1:
            slots[layout.LOSS] = float(loss)
            slots[layout.LOSS_UPDATE] = slots[layout.UPDATES]
