"""Tries again what failed in passing, with growing waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from gputrain.engine.datasets.remote_shards.object_store import RemoteError

TRIES = 8
FIRST_WAIT = 0.5
"""Seconds before the second try; they double up to `_LONGEST_WAIT`: a minute in all."""
_LONGEST_WAIT = 30.0

_POLL_SECONDS = 0.2

_T = TypeVar("_T")


_tries = TRIES


@contextmanager
def one_try() -> Iterator[None]:
    """All requests of this process inside are tried once: for plans, which someone waits for."""
    global _tries
    before, _tries = _tries, 1
    try:
        yield
    finally:
        _tries = before


def wait_before(attempt: int, error: RemoteError, waiting: Callable[[], None] = lambda: None) -> None:
    """Wait before try `attempt` (from 1 on), or raise the error if it is one too many.

    `waiting` is called meanwhile.
    """
    if not error.passing:
        raise error
    if attempt >= _tries:
        tries = f" ({_tries} tries)" if _tries > 1 else ""
        raise RemoteError(error.url, f"{error.why}{tries}", passing=False)
    wait = min(_LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
    # Many ranks and runs fail at the same moment.
    until = time.monotonic() + max(error.wait, wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
    while (left := until - time.monotonic()) > 0:
        waiting()
        time.sleep(min(left, _POLL_SECONDS))


def with_retries(action: Callable[[], _T]) -> _T:
    """The result of `action`. Raises RemoteError after the last try."""
    attempt = 0
    while True:
        try:
            return action()
        except RemoteError as error:
            attempt += 1
            wait_before(attempt, error)
