"""Which store has a URL, or a path."""

from __future__ import annotations

from urllib.parse import urlsplit

from gputrain.engine.common.remote_urls import WEB, is_url
from gputrain.engine.datasets.remote_shards.local_files import LocalFiles
from gputrain.engine.datasets.remote_shards.object_store import ObjectStore


def store_of(url: str) -> ObjectStore:
    """The store of a URL, or of a path. Raises BadInput if its package is not installed."""
    if not is_url(url):
        return LocalFiles()
    if urlsplit(url).scheme in WEB:
        from gputrain.engine.datasets.remote_shards.http_store import HttpStore  # urllib3: not for every command

        return HttpStore(url)
    from gputrain.engine.datasets.remote_shards.fsspec_store import FsspecStore

    return FsspecStore(url)
