"""Cache store: entries, claims, crashes, full disks and concurrent writers."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from gputrain.engine.training.cache.cache_store import CacheStore


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_store_keeps_what_was_put(place: Path) -> None:
    store = CacheStore(place, 5, 10_000)
    assert store.get(2) is None
    assert store.put(2, b"x" * 100, 20, 30)
    assert not store.put(2, b"y" * 100, 20, 30)  # the first stays
    assert store.put(4, b"z" * 50, 1, 2)
    entry = store.get(2)
    assert entry is not None
    assert (entry.width, entry.height, store.read(entry.offset, entry.length)) == (20, 30, b"x" * 100)
    assert store.stored() == 2
    assert not store.put(0, b"w" * 20_000, 1, 1)  # no room
    store.close()
    store.close()
    again = CacheStore(place, 5, 10_000)
    assert again.get(2) == entry
    assert bytes(again.map[entry.offset : entry.offset + 100]) == b"x" * 100
    again.close()


def test_a_claim_of_a_crashed_run_is_freed(place: Path) -> None:
    store = CacheStore(place, 5, 10_000)
    store.put(1, b"a" * 10, 1, 1)
    offset = store._claim(3, 100)  # as a writer that died at this point
    assert not store.put(3, b"b" * 100, 1, 1)
    for handle in (store._users, store._lock, store._data, store._table):
        os.close(handle)
    again = CacheStore(place, 5, 10_000)
    assert again.put(3, b"b" * 100, 1, 1)
    entry = again.get(3)
    assert entry is not None
    assert entry.offset == offset  # the same place: no room is lost
    again.close()


def test_unsynced_entries_are_invalid_after_a_reboot(place: Path) -> None:
    store = CacheStore(place, 5, 10_000)
    store.put(0, b"a", 1, 1)
    store.commit()
    store.put(1, b"b", 1, 1)
    for handle in (store._users, store._lock, store._data, store._table):
        os.close(handle)
    (place / "boot").write_text("an earlier one")
    again = CacheStore(place, 5, 10_000)
    assert again.get(0) is not None
    assert again.get(1) is None
    again.close()


def test_claims_of_a_living_run_are_left_alone(place: Path) -> None:
    store = CacheStore(place, 5, 10_000)
    store._claim(3, 100)
    other = CacheStore(place, 5, 10_000)
    assert not other.put(3, b"b" * 100, 1, 1)
    other.close()
    store.close()


def test_a_full_disk_stops_the_cache_and_not_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CacheStore(place, 5, 10_000)

    def full(handle: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert not store.put(0, b"a" * 100, 1, 1)
    assert store.full
    assert store.get(0) is None
    assert not store.put(1, b"a", 1, 1)
    store.close()


def _put_all(place: Path, count: int, ready: Event) -> None:
    store = CacheStore(place, count, 1 << 20)
    ready.wait()
    for index in range(count):
        store.put(index, bytes([index % 251]) * (100 + index), index, 1)
    store.close()


def test_concurrent_writers_keep_each_image_once_and_whole(place: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    writers = [context.Process(target=_put_all, args=(place, 400, ready)) for _ in range(3)]
    for writer in writers:
        writer.start()
    ready.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    store = CacheStore(place, 400, 1 << 20)
    places = []
    for index in range(400):
        entry = store.get(index)
        assert entry is not None
        assert store.read(entry.offset, entry.length) == bytes([index % 251]) * (100 + index)
        places.append((entry.offset, entry.offset + entry.length))
    places.sort()
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    assert store.used_bytes() <= sum(100 + n + 63 for n in range(400))
    store.close()


def test_of_two_readers_that_find_damage_one_repairs_it(place: Path) -> None:
    writer = CacheStore(place, 3, 1000, run=1)
    writer.put(1, b"some bytes, 8 at a time", 1, 1)
    writer.close()
    one, other = CacheStore(place, 3, 1000, run=2), CacheStore(place, 3, 1000, run=2)
    entry = one.get(1)
    assert entry is not None
    assert not entry.checked
    with (place / "data").open("r+b") as file:
        file.seek(entry.offset + 22)
        file.write(b"X")
    assert not one.is_whole(1, entry)
    assert not other.is_whole(1, entry)
    assert one.drop(1, entry)
    assert one.put(1, b"some bytes, 8 at a time", 1, 1)
    assert not other.drop(1, entry), "it is mended already"
    mended = other.get(1)
    assert mended is not None
    assert mended.checked
    assert (mended.offset, other.is_whole(1, mended)) == (entry.offset, True)
