"""Snapshot of a training state in host memory, so that training continues while a checkpoint is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gputrain.engine.common.sanitize import plain


class StateSnapshot:
    """Copies a state, always into the same memory."""

    def __init__(self, warn: Callable[[str], None] = lambda text: None) -> None:
        """`warn` is called once if page-locked memory can't be allocated."""
        self._warn = warn
        self._pin = True
        self._kept: dict[tuple[object, ...], torch.Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """`state` with copies of all its tensors. Copies from a GPU are asynchronous: call `wait`.

        Later work on the device's current stream does not change the copy. The last copy is overwritten.
        Raises RuntimeError if memory runs out.
        """
        self._copied = None
        taken: dict[str, Any] = self._copy(state, ())
        if any(tensor.is_pinned() for tensor in self._kept.values()):
            self._copied = torch.cuda.Event()
            self._copied.record()
        return taken

    def wait(self) -> None:
        """Return when the copy is complete. May be called on another thread."""
        if self._copied is not None:
            self._copied.synchronize()

    def _copy(self, value: Any, path: tuple[object, ...]) -> Any:
        match value:
            case torch.Tensor():
                return self._buffer(value.detach(), path).copy_(value.detach(), non_blocking=True)
            case Mapping():
                return {key: self._copy(one, (*path, key)) for key, one in value.items()}
            case list() | tuple():
                return type(value)(self._copy(one, (*path, number)) for number, one in enumerate(value))
            case _:
                return value

    def _buffer(self, like: torch.Tensor, path: tuple[object, ...]) -> torch.Tensor:
        kept = self._kept.get(path)
        if kept is None or kept.shape != like.shape or kept.dtype != like.dtype or kept.stride() != like.stride():
            # Free the old one first: memory may be too small for both.
            self._kept.pop(path, None)
            kept = self._kept[path] = self._room(like)
        return kept

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        if like.is_cuda and self._pin:
            try:
                return torch.empty_like(like, device="cpu", pin_memory=True)
            except RuntimeError as error:
                self._pin = False
                why = plain(str(error).partition("\n")[0], 200)
                self._warn(
                    f"no page-locked memory for copies of the training state ({why}): pageable memory is used, "
                    "and the training waits a little longer for each checkpoint"
                )
        return torch.empty_like(like, device="cpu", pin_memory=False)


def size_of(value: Any) -> int:
    """Bytes of all tensors in a state."""
    match value:
        case torch.Tensor():
            return value.nbytes
        case Mapping():
            return sum(map(size_of, value.values()))
        case list() | tuple():
            return sum(map(size_of, value))
        case _:
            return 0
