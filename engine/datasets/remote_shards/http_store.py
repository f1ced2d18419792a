"""Files on web servers. Nothing that a server answers is believed unseen: status, range, length, version.

Not through fsspec, which takes the body of any answer with status 206 as the range that it asked for.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from typing import Any

import urllib3

from gputrain.engine.common import http_pool
from gputrain.engine.common.remote_urls import QUERY_VARIABLE
from gputrain.engine.datasets.remote_shards.object_store import (
    RemoteError,
    RemoteFileChanged,
    RemoteFileMissing,
    RemoteStat,
    version_of,
)

STALL_SECONDS = 30.0
"""Seconds without a byte after which a connection is given up."""
_CONNECT_SECONDS = 10.0
_CONNECTIONS = 16
_PIECE = 1 << 20
_LONGEST_WAIT = 60.0
"""Most seconds of a ``Retry-After`` that are respected."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class HttpStore:
    """See `ObjectStore`."""

    def __init__(self, url: str) -> None:
        self._pool = http_pool.pool_for(url, maxsize=_CONNECTIONS)

    def stat(self, url: str, *, fresh: bool = False) -> RemoteStat:
        """See `ObjectStore`. Asks for the first byte: many servers refuse HEAD, and signatures are for GET alone."""
        answer = self._get(url, "bytes=0-0")
        try:
            if answer.status == 206:
                return _described(answer, _content_range(url, answer)[2])
            if answer.status == 416:
                return _described(answer, 0)
            length = answer.headers.get("Content-Length", "")
            if not length.isdigit():
                raise RemoteError(url, "the server says no size", passing=False)
            return _described(answer, int(length))
        finally:
            answer.close()

    def names(self, folder: str) -> list[str] | None:
        """See `ObjectStore`: HTTP has no listings."""
        return None

    def read(self, url: str, stat: RemoteStat, start: int) -> Iterator[bytes]:
        """See `ObjectStore`."""
        answer = self._get(url, f"bytes={start}-")
        try:
            skip = start
            if answer.status == 206:
                first, last, size = _content_range(url, answer)
                _check_version(url, stat, _described(answer, size))
                if (first, last) != (start, size - 1):
                    raise RemoteError(
                        url, f"asked for bytes from {start}, the server answered {first}-{last}", passing=True
                    )
                skip = 0
            elif answer.status == 200:
                length = answer.headers.get("Content-Length", "")
                _check_version(url, stat, _described(answer, int(length) if length.isdigit() else stat.size))
            else:
                raise RemoteFileChanged(url)  # 416: it became shorter
            for piece in _pieces(url, answer):
                yield piece[skip:]
                skip = max(0, skip - len(piece))
        finally:
            answer.close()

    def _get(self, url: str, wanted: str) -> Any:
        """The answer, with status 200, 206 or 416, and its body not read yet."""
        query = os.environ.get(QUERY_VARIABLE, "").lstrip("?")
        headers = {"Range": wanted, "Accept-Encoding": "identity"}
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=STALL_SECONDS)
        retries = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)
        try:
            answer = self._pool.request(
                "GET",
                f"{url}?{query}" if query else url,
                headers=headers,
                timeout=timeout,
                retries=retries,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            # Its text holds the address with the query.
            raise _unreachable(url, error) from None
        if answer.status in (200, 206, 416):
            return answer
        answer.close()
        if answer.status in (404, 410):
            raise RemoteFileMissing(url)
        if answer.status in (401, 403):
            why = f"HTTP {answer.status}: access denied; a signature belongs into {QUERY_VARIABLE}"
            raise RemoteError(url, why, passing=False)
        after = answer.headers.get("Retry-After", "")
        wait = min(float(after), _LONGEST_WAIT) if after.isdigit() else 0.0
        raise RemoteError(url, f"HTTP {answer.status}", passing=answer.status in _PASSING, wait=wait)


def _pieces(url: str, answer: Any) -> Iterator[bytes]:
    try:
        # What has come, not whole pieces: nothing of it is lost when the connection stalls.
        while piece := answer.read1(_PIECE, decode_content=False):
            yield piece
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> RemoteError:
    cause = getattr(error, "reason", None) or error
    # A refused connection is a timeout, too, by urllib3's classes.
    if isinstance(cause, urllib3.exceptions.TimeoutError) and not isinstance(
        cause, urllib3.exceptions.NewConnectionError
    ):
        return RemoteError(url, f"no answer in {STALL_SECONDS:g} s", passing=True)
    if isinstance(cause, urllib3.exceptions.ProtocolError):
        return RemoteError(url, "the connection broke off", passing=True)
    return RemoteError(url, f"no connection ({type(cause).__name__})", passing=True)


def _content_range(url: str, answer: Any) -> tuple[int, int, int]:
    """First byte, last byte and size in ``Content-Range``."""
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    if found is None:
        raise RemoteError(url, "the server answered a part of the file without saying which", passing=True)
    first, last, size = (int(number) for number in found.groups())
    return first, last, size


def _described(answer: Any, size: int) -> RemoteStat:
    headers = answer.headers
    return RemoteStat(size, version_of(headers.get("ETag", "") or headers.get("Last-Modified", "")), _digest(headers))


def _digest(headers: Any) -> str:
    """The digest of the whole file: a store's, or of RFC 9530; not ``Content-MD5``, which may be that of the part."""
    for name, key, kind in (("Repr-Digest", "sha-256=:", "sha256"), ("x-goog-hash", "md5=", "md5")):
        for part in headers.get(name, "").split(","):
            value = part.strip()
            if value.startswith(key):
                try:
                    return f"{kind}:{base64.b64decode(value.removeprefix(key).rstrip(':'), validate=True).hex()}"
                except binascii.Error:
                    continue
    return ""


def _check_version(url: str, wanted: RemoteStat, found: RemoteStat) -> None:
    if found.size != wanted.size or (wanted.version and found.version and found.version != wanted.version):
        raise RemoteFileChanged(url)
