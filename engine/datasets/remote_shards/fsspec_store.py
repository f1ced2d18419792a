"""Files in object stores through fsspec: Amazon S3 and compatible ones, Google Cloud Storage, the Hugging Face Hub.

Credentials and endpoints are fsspec's and the stores' own business: their environment variables and files.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.remote_shards.object_store import (
    RemoteError,
    RemoteFileChanged,
    RemoteFileMissing,
    RemoteStat,
    version_of,
)

STALL_SECONDS = 60.0
"""Most seconds of one request."""
_PIECE = 8 << 20
"""Bytes of one request."""
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
_ANONYMOUS = {"s3": "FSSPEC_S3_ANON=true", "gs": "FSSPEC_GS_TOKEN=anon"}
_MD5 = re.compile(r"[0-9a-f]{32}\Z")
_DENIED = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "GatedRepoError")


class FsspecStore:
    """See `ObjectStore`."""

    def __init__(self, url: str) -> None:
        """Raises BadInput if the protocol's package is not installed."""
        self._scheme = urlsplit(url).scheme
        self._file_system()

    def _file_system(self) -> Any:
        """fsspec keeps one for each thread and process."""
        try:
            import fsspec

            return fsspec.filesystem(self._scheme)
        except ImportError as error:
            extra = "gcs" if self._scheme == "gs" else "remote"
            needs = f"data_dir: {self._scheme}:// needs {_PACKAGES[self._scheme]} ({plain(str(error), 100)})"
            raise BadInput(f"{needs}: pip install 'gputrain-tui[{extra}]'") from None

    def stat(self, url: str, *, fresh: bool = False) -> RemoteStat:
        """See `ObjectStore`."""
        system = self._file_system()
        try:
            if self._scheme == "s3" and fresh:
                return _of_s3_head(system, url)
            found = system.info(url, **({"refresh": True} if fresh and self._scheme != "gs" else {}))
        except Exception as error:  # noqa: BLE001 - each store has its own errors
            raise self._fault(url, error) from None
        if found.get("type") == "directory":
            raise RemoteFileMissing(url)
        return _described(found)

    def names(self, folder: str) -> list[str] | None:
        """See `ObjectStore`."""
        system = self._file_system()
        try:
            found = system.ls(folder, detail=True)
        except Exception as error:  # noqa: BLE001 - each store has its own errors
            raise self._fault(folder, error) from None
        names = (f"{row['name'].rstrip('/').rpartition('/')[2]}{'/' * (row['type'] == 'directory')}" for row in found)
        return sorted({name for name in names if name})

    def read(self, url: str, stat: RemoteStat, start: int) -> Iterator[bytes]:
        """See `ObjectStore`. The version is compared before and after: a store's range has no word of it."""
        self._check_version(url, stat)
        for begin in range(start, stat.size, _PIECE):
            end = min(begin + _PIECE, stat.size)
            try:
                piece = self._range(url, begin, end)
            except Exception as error:  # noqa: BLE001 - each store has its own errors
                raise self._fault(url, error) from None
            if len(piece) != end - begin:
                raise RemoteError(url, f"{len(piece)} bytes came of bytes {begin}-{end - 1}", passing=True)
            yield piece
        self._check_version(url, stat)

    def _range(self, url: str, begin: int, end: int) -> bytes:
        import fsspec.asyn

        system = self._file_system()
        if not isinstance(system, fsspec.asyn.AsyncFileSystem):
            whole: bytes = system.cat_file(url, start=begin, end=end)
            return whole
        path = system._strip_protocol(url)
        piece: bytes = fsspec.asyn.sync(
            system.loop, system._cat_file, path, start=begin, end=end, timeout=STALL_SECONDS
        )
        return piece

    def _check_version(self, url: str, wanted: RemoteStat) -> None:
        found = self.stat(url, fresh=True)
        if found.size != wanted.size or (wanted.version and found.version and found.version != wanted.version):
            raise RemoteFileChanged(url)

    def _fault(self, url: str, error: Exception) -> RemoteError:
        if isinstance(error, RemoteError):
            return error
        if isinstance(error, FileNotFoundError):
            return RemoteFileMissing(url)
        name = type(error).__name__
        if isinstance(error, PermissionError) or name in _DENIED:
            public = _ANONYMOUS.get(self._scheme)
            hint = f"; for public data set the environment variable {public}" if public else ""
            return RemoteError(url, f"access denied ({name}){hint}", passing=False)
        return RemoteError(url, f"{name}: {error}", passing=True)


def _of_s3_head(system: Any, url: str) -> RemoteStat:
    """Without encryption by own keys, and for files that were sent in one part, the ETag is the MD5."""
    bucket, key, _ = system.split_path(url)
    head = system.call_s3("head_object", Bucket=bucket, Key=key)
    tag = str(head.get("ETag", "")).strip('"')
    is_md5 = head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return RemoteStat(int(head["ContentLength"]), version_of(tag), f"md5:{tag}" if is_md5 and _MD5.match(tag) else "")


def _described(found: dict[str, Any]) -> RemoteStat:
    """What a store says of a file: the keys are those of s3fs, gcsfs and huggingface_hub."""
    tag = found.get("ETag") or found.get("etag") or found.get("generation") or found.get("blob_id") or ""
    lfs = found.get("lfs") or {}
    digest = ""
    if isinstance(lfs, dict) and (sha := lfs.get("sha256")):
        digest = f"sha256:{sha}"
    elif md5 := found.get("md5Hash"):
        digest = f"md5:{base64.b64decode(md5).hex()}"
    return RemoteStat(int(found["size"]), version_of(str(tag).strip('"')), digest)
