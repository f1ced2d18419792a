"""What is asked of a store of remote files, and what may go wrong. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from gputrain.engine.common.remote_urls import without_secrets
from gputrain.engine.common.sanitize import plain

CHANGED = "it changed after it was indexed; start the run again"


class RemoteError(Exception):
    """A remote file cannot be read. Its text names the file, and holds no secret."""

    def __init__(self, url: str, why: str, *, passing: bool, wait: float = 0.0) -> None:
        """`passing`: another try may succeed, after `wait` seconds if the server says so."""
        super().__init__(f"{plain(without_secrets(url), 300)}: {plain(without_secrets(why), 300)}")
        self.url, self.why, self.passing, self.wait = url, plain(without_secrets(why), 300), passing, wait


class RemoteFileChanged(RemoteError):  # noqa: N818 - reads as what it is
    """A remote file is another one than was indexed."""

    def __init__(self, url: str) -> None:
        super().__init__(url, CHANGED, passing=False)


class RemoteFileDamaged(RemoteError):  # noqa: N818 - reads as what it is
    """A compressed file cannot be unpacked."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(url, f"it cannot be unpacked: {why}", passing=False)


class RemoteFileMissing(RemoteError):  # noqa: N818 - reads as what it is
    """There is no such file."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "it does not exist", passing=False)


class RemoteStat(NamedTuple):
    """A remote file as its store describes it."""

    size: int
    version: int
    """A hash of what the store says of its version, such as the ETag; 0 if it says nothing."""
    digest: str = ""
    """``md5:…`` or ``sha256:…`` of its content in hexadecimal, if the store says so."""


def version_of(tag: str) -> int:
    """`tag` as a number that fits into 63 bits; 0 for none."""
    return int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], "big") >> 1 or 1 if tag else 0


class ObjectStore(Protocol):
    """A store of remote files. All methods raise RemoteError; they do not try again."""

    def stat(self, url: str, *, fresh: bool = False) -> RemoteStat:
        """Size and version of a file; `fresh`: as it is now, not as it was listed."""
        ...

    def names(self, folder: str) -> list[str] | None:
        """The names of the files and folders (with a ``/`` at the end) in `folder`; None where none can be listed."""
        ...

    def read(self, url: str, stat: RemoteStat, start: int) -> Iterator[bytes]:
        """The content of the file from byte `start` on, in pieces. Raises RemoteFileChanged if it has changed."""
        ...
