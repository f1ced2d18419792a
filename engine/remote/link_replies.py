"""What the shell at the other end of a link answers, up to a frame that is waited for."""

from __future__ import annotations

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.remote.ssh_link import Frame, Link, LinkLostError

_SLICE_SECONDS = 0.2
_MAX_ANSWER = 64 << 20


def wait_for_frame(link: Link, letter: str) -> dict[str, bytes]:
    """The newest frame of each letter up to the first of `letter`. Raises as `wait_for_frames`."""
    return dict(wait_for_frames(link, letter))


def wait_for_frames(link: Link, letter: str) -> list[Frame]:
    """All frames up to the first of `letter`. Raises BadInput for the other end's refusal, LinkLostError."""
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
        if size > _MAX_ANSWER:
            raise LinkLostError("the answer does not come to its end")


def words(payload: bytes) -> str:
    """A reason, harmless to show."""
    return plain(payload.decode("utf-8", "replace"), 300)
