"""Waits for the frames that the shell at the other end of a link sends in reply."""

from __future__ import annotations

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.remote.ssh_link import Frame, Link, LinkLostError

_SLICE_SECONDS = 0.2
_MAX_REPLY = 64 << 20


def wait_for_frame(link: Link, letter: str) -> dict[str, bytes]:
    """The newest payload by frame letter, up to the first frame `letter`. Raises as `wait_for_frames`."""
    return dict(wait_for_frames(link, letter))


def wait_for_frames(link: Link, letter: str) -> list[Frame]:
    """All frames up to the first frame `letter`. Raises BadInput if the other end refuses, LinkLostError."""
    found: list[Frame] = []
    size = 0
    while True:
        fresh = link.frames(_SLICE_SECONDS)
        for got, payload in fresh:
            size += len(payload)
            if got == "X":
                raise BadInput(words(payload))
        found += fresh
        if any(got == letter for got, _ in fresh):
            return found
        if size > _MAX_REPLY:
            raise LinkLostError("the reply is longer than 64 MiB")


def words(payload: bytes) -> str:
    """The text of a payload, sanitized for display."""
    return plain(payload.decode("utf-8", "replace"), 300)
