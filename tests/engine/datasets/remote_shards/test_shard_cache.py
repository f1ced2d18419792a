"""The cache of remote shards: downloads that fail, stall and lie; locks; eviction; a full disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.servers import shard_server as serving
from helpers.servers.shard_server import ShardServer, of_downloads

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.remote_shards import http_store, retries, shard_cache
from gputrain.engine.datasets.remote_shards.choose_store import store_of
from gputrain.engine.datasets.remote_shards.object_store import (
    RemoteError,
    RemoteFileChanged,
    RemoteFileMissing,
    RemoteStat,
)
from gputrain.engine.datasets.remote_shards.shard_cache import CacheFull, ShardCache, Wanted

SIZE = 20_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(http_store, "STALL_SECONDS", 0.3)
    folder = tmp_path / "served"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.tar").write_bytes(os.urandom(SIZE))
    with serving.shard_server(folder) as served:
        yield served


def wanted(server: ShardServer, name: str) -> Wanted:
    url = f"{server.url}/{name}"
    return Wanted(url, store_of(url).stat(url))


def fetch(cache: ShardCache, one: Wanted, **options: bool) -> int | None:
    return cache.fetch(store_of(one.url), one, lambda size: None, **options)


def content(handle: int | None) -> bytes:
    assert handle is not None
    try:
        return os.pread(handle, SIZE + 1, 0)
    finally:
        os.close(handle)


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] or path.name for path in folder.iterdir() if path.is_file())


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        ([], ["bytes=0-"]),
        ([serving.unavailable] * 3, ["bytes=0-"] * 4),
        ([serving.breaking_off], ["bytes=0-", "bytes=3000-"]),
        ([serving.breaking_off, serving.unavailable], ["bytes=0-", "bytes=3000-", "bytes=3000-"]),
        ([serving.stalling], ["bytes=0-", "bytes=10000-"]),
        ([serving.wrong_range, serving.wrong_range], ["bytes=0-"] * 3),
        ([serving.without_ranges], ["bytes=0-"]),
        ([serving.breaking_off, serving.without_ranges], ["bytes=0-", "bytes=3000-"]),
        ([serving.breaking_off, serving.wrong_range], ["bytes=0-", "bytes=3000-", "bytes=3000-"]),
    ],
    ids=lambda value: "+".join(fault.__name__ for fault in value) if value and callable(value[0]) else "",
)
def test_a_download_survives_faults_of_the_server(
    server: ShardServer, tmp_path: Path, faults: list[Callable[[serving.ShardRequest], None]], ranges: list[str]
) -> None:
    server.faults += [of_downloads(fault) for fault in faults]
    found = content(fetch(ShardCache(tmp_path / "cache"), wanted(server, "a.tar")))
    assert found == (server.folder / "a.tar").read_bytes()
    assert server.downloads("a.tar") == ranges
    assert names(tmp_path / "cache") == ["a.tar"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (serving.unavailable, r"a.tar: HTTP 503 \(8 tries\)"),
        (serving.wrong_range, r"a.tar: asked for bytes from 0, the server answered 512-19999 \(8 tries\)"),
        (lambda request: request.refuse(403), "a.tar: HTTP 403: access denied"),
        (lambda request: request.refuse(404), "a.tar: it does not exist"),
    ],
)
def test_a_lasting_fault_is_named(
    server: ShardServer, tmp_path: Path, fault: Callable[[serving.ShardRequest], None], why: str
) -> None:
    one = wanted(server, "a.tar")
    server.faults += [of_downloads(fault)] * retries.TRIES
    with pytest.raises(RemoteError, match=why):
        fetch(ShardCache(tmp_path / "cache"), one)
    assert names(tmp_path / "cache") == [], "nothing half"


def test_no_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:9/a.tar"
    with pytest.raises(RemoteError, match=r"http://127.0.0.1:9/a.tar: no connection \(NewConnectionError\)"):
        store_of(url).stat(url)


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_a_file_that_changed_is_not_taken(server: ShardServer, tmp_path: Path, size: int) -> None:
    one = wanted(server, "a.tar")
    (server.folder / "a.tar").write_bytes(os.urandom(size))
    with pytest.raises(RemoteFileChanged, match=r"a.tar: it changed after it was indexed; start the run again"):
        fetch(ShardCache(tmp_path / "cache"), one)
    assert names(tmp_path / "cache") == []


def test_a_change_in_mid_download_is_not_taken(server: ShardServer, tmp_path: Path) -> None:
    one = wanted(server, "a.tar")

    def replaced(request: serving.ShardRequest) -> None:
        request.answer(only=3000)
        (server.folder / "a.tar").write_bytes(os.urandom(SIZE))

    server.faults.append(of_downloads(replaced))
    with pytest.raises(RemoteFileChanged):
        fetch(ShardCache(tmp_path / "cache"), one)


def test_content_with_another_digest_is_not_taken(server: ShardServer, tmp_path: Path) -> None:
    one = wanted(server, "a.tar")
    known = Wanted(one.url, RemoteStat(one.stat.size, 0, "sha256:" + "0" * 64))
    with pytest.raises(RemoteError, match="its content differs from its sha256"):
        fetch(ShardCache(tmp_path / "cache"), known)
    assert len(server.downloads("a.tar")) == 2, "damage on the way is tried again"


def test_two_processes_download_a_shard_once(server: ShardServer, tmp_path: Path) -> None:
    """Locks of one process by several handles act as those of several processes."""
    first, second = ShardCache(tmp_path / "cache"), ShardCache(tmp_path / "cache")
    one, going, proceed = wanted(server, "a.tar"), threading.Event(), threading.Event()

    def slow(request: serving.ShardRequest) -> None:
        going.set()
        proceed.wait(10)
        request.answer()

    server.faults.append(of_downloads(slow))
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(content(fetch(first, one))))]
    threads[0].start()
    assert going.wait(10)
    assert fetch(second, one, wait=False) is None, "it goes on to another shard"
    threads.append(threading.Thread(target=lambda: found.append(content(fetch(second, one)))))
    threads[1].start()
    proceed.set()
    for thread in threads:
        thread.join(10)
    assert found == [(server.folder / "a.tar").read_bytes()] * 2
    assert server.downloads("a.tar") == ["bytes=0-"]


def test_the_least_recently_used_is_evicted_but_none_in_use(server: ShardServer, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 2 * SIZE)
    shards = {name: wanted(server, f"{name}.tar") for name in "abcd"}
    held = fetch(cache, shards["a"])
    assert held is not None
    os.close(fetch(cache, shards["b"]) or 0)
    os.close(fetch(cache, shards["c"]) or 0)
    assert names(cache.folder) == ["a.tar", "c.tar"], "a is older than b, but in use"
    other = fetch(cache, shards["c"])
    with pytest.raises(CacheFull, match=r"remote_cache_gib: the cache of .* is full of shards in use, .* raise it"):
        fetch(cache, shards["d"])
    os.close(held)
    assert content(fetch(cache, shards["d"])) == (server.folder / "d.tar").read_bytes()
    assert names(cache.folder) == ["c.tar", "d.tar"]
    os.close(other or 0)


def test_parts_of_killed_downloads_are_removed(server: ShardServer, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 2 * SIZE)
    cache.folder.mkdir()
    (cache.folder / ".old.part").write_bytes(b"x" * SIZE)
    os.close(fetch(cache, wanted(server, "a.tar")) or 0)
    assert names(cache.folder) == ["a.tar"]


def test_a_full_disk_is_named(server: ShardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    one = wanted(server, "a.tar")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        CacheFull, match=r"the disk of .*/cache is full; free some space, or move the cache with GPUTRAIN"
    ):
        fetch(ShardCache(tmp_path / "cache"), one)
    monkeypatch.undo()
    assert names(tmp_path / "cache") == []


def test_shards_are_evicted_for_the_space_of_the_disk(
    server: ShardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ShardCache(tmp_path / "cache")
    os.close(fetch(cache, wanted(server, "a.tar")) or 0)
    real = os.statvfs(cache.folder)

    def nearly_full(_path: object) -> os.statvfs_result:
        free = 2 * SIZE - sum(path.stat().st_size for path in cache.folder.iterdir() if path.is_file())
        return os.statvfs_result((1, 1, 100 * SIZE, free, free, *real[5:]))

    monkeypatch.setattr(shard_cache, "_RESERVE", 0.0)
    monkeypatch.setattr(os, "statvfs", nearly_full)
    for name in "bc":
        os.close(fetch(cache, wanted(server, f"{name}.tar")) or 0)
    assert names(cache.folder) == ["b.tar", "c.tar"]


def test_a_damaged_file_in_the_cache_is_fetched_again(server: ShardServer, tmp_path: Path) -> None:
    cache, one = ShardCache(tmp_path / "cache"), wanted(server, "a.tar")
    os.close(fetch(cache, one) or 0)
    cache.path(one).write_bytes(b"short")
    assert content(fetch(cache, one)) == (server.folder / "a.tar").read_bytes()


def denying(request: serving.ShardRequest) -> bool:
    request.refuse(403)
    return True


def test_signatures_reach_the_server_and_no_text(
    server: ShardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUTRAIN_DATA_QUERY", "?sig=SECRET")
    one = wanted(server, "a.tar")
    os.close(fetch(ShardCache(tmp_path / "cache"), one) or 0)
    assert server.queries == {"sig=SECRET"}
    server.faults.append(denying)
    with pytest.raises(RemoteError) as denied:
        store_of(one.url).stat(one.url)
    monkeypatch.setattr(http_store, "STALL_SECONDS", 0.05)
    server.faults[:] = [lambda request: server.released.wait(5)]
    with pytest.raises(RemoteError) as stalled:
        store_of(one.url).stat(one.url)
    for error in (denied.value, stalled.value):
        assert "SECRET" not in f"{error} {error!r} {error.args} {error.__cause__}"
    assert "HTTP 403" in str(denied.value)
    assert "no answer in 0.05 s" in str(stalled.value)


def test_a_missing_file_is_told_from_a_denied_one(server: ShardServer) -> None:
    with pytest.raises(RemoteFileMissing, match=r"x.tar: it does not exist"):
        wanted(server, "x.tar")


def test_a_cache_that_cannot_be_written_is_named(server: ShardServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        BadInput, match=r"the cache of remote shards in .*/file/cache cannot be written: Not a directory"
    ):
        fetch(ShardCache(tmp_path / "file" / "cache"), wanted(server, "a.tar"))
