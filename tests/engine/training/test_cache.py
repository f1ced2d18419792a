from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import encoded, folder, picture

from gputrain.engine import settings
from gputrain.engine.cacheresolution import resolution
from gputrain.engine.config import RunConfig
from gputrain.engine.errors import BadInput
from gputrain.engine.training import cache, cache_budget
from gputrain.engine.training.accounting import Meter
from gputrain.engine.training.batches import Batch
from gputrain.engine.training.cache import CachedSource, build_cache, open_cache
from gputrain.engine.training.cache_forms import Kept, RawForm
from gputrain.engine.training.cache_store import Store
from gputrain.engine.training.images import ImageSet, scan
from gputrain.engine.training.loader import AnyLoader, make_loader


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return scan(str(folder(tmp_path / "data", classes=2, per_class=6)), "train")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's memory file system, in a folder of the test's own."""
    place = tmp_path / "shm"
    place.mkdir()
    monkeypatch.setattr(cache, "SHARED_MEMORY", place)
    return place


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {"image_size": 32, "val_resize": 40, "batch_size": 4, "num_workers": 2, "cache": "disk"}
    return settings.build(values | {"loader": "threads"} | changes)


def epoch(loader: AnyLoader, number: int = 0) -> list[tuple[list[int], bytes]]:
    def content(batch: Batch) -> bytes:
        return bytes(batch.images.contiguous().numpy().tobytes())

    return [(batch.indices.tolist(), content(batch)) for batch in loader.epoch(number)]


def opened(images: ImageSet, settings_: RunConfig) -> CachedSource:
    source = open_cache(images, settings_, train=True)
    assert source is not None
    return source


@pytest.mark.parametrize("place", ["ram", "disk"])
@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_the_first_epoch_is_as_later_ones(images: ImageSet, place: str, form: str) -> None:
    loader = make_loader(images, config(cache=place, cache_form=form), train=True, pin=False)
    first = epoch(loader)
    assert loader.take_stats().cache_hits == 0
    assert epoch(loader) == first
    stats = loader.take_stats()
    assert (stats.cache_hits, stats.samples) == (12, 12)
    # Pixels are used through a memory map, where reading takes no time that could be told apart.
    assert (stats.read_share is None) == (form == "raw")
    loader.close()
    again = make_loader(images, config(cache=place, cache_form=form, num_workers=0), train=True, pin=False)
    assert epoch(again) == first
    assert again.take_stats().cache_hits == (12 if place == "disk" else 0)  # memory goes with its last run
    again.close()


def test_worker_processes_share_the_cache(images: ImageSet) -> None:
    threads = make_loader(images, config(num_workers=1), train=True, pin=False)
    processes = make_loader(images, config(loader="processes"), train=True, pin=False)
    assert epoch(processes) == epoch(threads)
    assert threads.take_stats().cache_hits == 12
    assert epoch(processes, 1) == epoch(threads, 1)
    processes.close()
    threads.close()


def test_jpeg_tiles_give_the_files_pixels(images: ImageSet) -> None:
    plain = make_loader(images, config(cache="none"), train=True, pin=False)
    tiled = make_loader(images, config(cache_form="jpeg"), train=True, pin=False)
    for ours, theirs in zip(tiled.epoch(0), plain.epoch(0), strict=True):
        assert torch.equal(ours.indices, theirs.indices)
        difference = (ours.images.int() - theirs.images.int()).abs().float()
        assert difference.mean() < 1
        assert difference.max() <= 48
    tiled.close()


@pytest.mark.parametrize(("changes", "part", "side"), [({}, 1.0, 43), ({"augment": "none"}, 0.625, 64)])
def test_what_is_cut_from_kept_images_keeps_its_pixels(
    images: ImageSet, changes: dict[str, Any], part: float, side: int
) -> None:
    """The mean crop of a picture, and a face that is a part of it, are no smaller than the model sees them."""
    margin = (1 - part) / 2
    boxes = np.array([[margin, margin, 1 - margin, 1 - margin]] * len(images), dtype=np.float32)
    source = opened(dataclasses.replace(images, boxes=boxes), config(crop_min_scale=0.12, **changes))
    source.prepare(0, Meter())
    entry = source.store.get(0)
    assert entry is not None
    assert min(entry.width, entry.height) == side
    source.close()


def test_validation_from_raw_is_the_files(images: ImageSet) -> None:
    raw = make_loader(images, config(), train=False, pin=False)
    plain = make_loader(images, config(cache="none"), train=False, pin=False)
    assert epoch(raw) == epoch(plain)
    assert epoch(raw) == epoch(plain)
    raw.close()


def test_building_ahead_goes_on_where_it_ended(images: ImageSet) -> None:
    source = opened(images, config())
    source.close()
    seen: list[tuple[int, int]] = []
    built = build_cache(images, config(), lambda done, total: seen.append((done, total)), train=True)
    assert seen[-1] == (12, 12)
    assert (built.images, built.bad) == (12, ())
    assert built.note.startswith("cache=disk: all 12 images")
    before = (built.folder / "data").stat().st_mtime_ns
    assert build_cache(images, config(), lambda done, total: None, train=True) == built
    assert (built.folder / "data").stat().st_mtime_ns == before
    loader = make_loader(images, config(), train=True, pin=False)
    epoch(loader)
    assert loader.take_stats().cache_hits == 12
    loader.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_tiles_that_rotted_are_made_again(images: ImageSet, kind: str) -> None:
    """Damage anywhere in a kept image: its header, its table of offsets, its pieces."""
    loader = make_loader(images, config(cache_form="jpeg", loader=kind), train=True, pin=False)
    expected = epoch(loader)
    assert epoch(loader) == expected
    assert loader.take_stats().cache_hits == 12
    store = opened(images, config(cache_form="jpeg")).store
    for index, at in ((0, 0), (3, 20), (5, 100), (7, 3)):
        entry = store.get(index)
        assert entry is not None
        with (store.folder / "data").open("r+b") as file:
            file.seek(entry.offset + at)
            file.write(b"\xff" * 90)
    store.close()
    assert epoch(loader) == expected
    stats = loader.take_stats()
    assert (stats.cache_hits, stats.cache_repaired) == (8, 4)
    assert epoch(loader) == expected
    assert loader.take_stats().cache_hits == 12
    loader.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_a_flipped_bit_is_found_and_mended(images: ImageSet, form: str, kind: str) -> None:
    """Which no decoder would notice: in the next run the image is made again, once, and counted."""
    settings_ = config(cache_form=form, loader=kind, crop_min_scale=0.08)
    first = make_loader(images, settings_, train=True, pin=False)
    expected = epoch(first)
    assert epoch(first) == expected
    store = opened(images, settings_).store
    for index in (0, 7):
        entry = store.get(index)
        assert entry is not None
        with (store.folder / "data").open("r+b") as file:
            file.seek(entry.offset + entry.length - 5)
            (byte,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 16]))
    store.close()
    first.close()
    for hits, repaired in ((10, 2), (12, 0)):
        again = make_loader(images, settings_, train=True, pin=False)
        assert epoch(again) == expected
        stats = again.take_stats()
        assert (stats.cache_hits, stats.cache_repaired) == (hits, repaired)
        assert epoch(again) == expected
        assert again.take_stats().cache_hits == 12
        again.close()


def test_of_two_that_find_damage_one_mends_it(place: Path) -> None:
    writer = Store(place, 3, 1000, run=1)
    writer.put(1, b"some bytes, 8 at a time", 1, 1)
    writer.close()
    one, other = Store(place, 3, 1000, run=2), Store(place, 3, 1000, run=2)
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


def test_building_computes_on_one_thread_a_worker(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = set()
    original = RawForm.make

    def make(self: RawForm, data: bytes, path: str) -> Kept:
        if threading.current_thread().name.startswith("cache"):
            counts.add(torch.get_num_threads())
        return original(self, data, path)

    monkeypatch.setattr(RawForm, "make", make)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        build_cache(images, config(), lambda done, total: None, train=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert counts == {1}


def test_building_names_bad_images(images: ImageSet) -> None:
    Path(images.path(3)).write_bytes(b"")
    built = build_cache(images, config(cache_form="jpeg"), lambda done, total: None, train=True)
    assert built.images == 11
    assert built.bad == (f"{images.path(3)}: the file is empty",)


@pytest.mark.parametrize("change", ["content", "settings", "form", "name"])
def test_a_change_makes_another_cache(images: ImageSet, tmp_path: Path, change: str) -> None:
    before = build_cache(images, config(), lambda done, total: None, train=True)
    after = config()
    if change == "content":
        Path(images.path(0)).write_bytes(encoded(picture(80, 70, 99)))
    elif change == "settings":
        after = config(val_resize=48)
    elif change == "form":
        after = config(cache_form="jpeg")
    else:
        Path(images.path(0)).rename(Path(images.path(0)).with_name("0001.jpg"))
        images = scan(str(tmp_path / "data"), "train")
    assert build_cache(images, after, lambda done, total: None, train=True).folder != before.folder


def test_a_small_budget_keeps_a_fixed_part(images: ImageSet) -> None:
    whole = cache_budget.mean_size(images, RawForm(resolution(settings.flatten(config()), train=True))) * len(images)
    small = config(cache_gib=whole / 2 / cache_budget.GIB)
    loader = make_loader(images, small, train=True, pin=False)
    assert "of 12 images" in loader.note
    assert "the others are read from their files" in loader.note
    first, second, third = (epoch(loader, 0) for _ in range(3))
    assert first == second == third
    kept = int(cache_budget.subset(12, json.loads(_only_plan().read_text())["share"]).sum())
    loader.take_stats()
    epoch(loader, 1)
    hits = loader.take_stats().cache_hits
    assert hits is not None
    # Their mean size is an estimate: the last one may not fit.
    assert kept - 1 <= hits <= kept
    assert 1 < kept < 12
    loader.close()


def _only_plan() -> Path:
    (plan,) = Path(os.environ["GPUTRAIN_CACHE"]).glob("images/*/plan.json")
    return plan


def test_the_part_that_is_kept_grows_with_the_share() -> None:
    parts = [cache_budget.subset(10_000, share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert all((small <= large).all() for small, large in itertools.pairwise(parts))
    assert np.allclose([part.mean() for part in parts], [0, 0.1, 0.5, 0.9, 1], atol=0.02)
    assert parts[-1].all()


@pytest.mark.parametrize(("place", "remedy"), [("disk", "GPUTRAIN_CACHE"), ("ram", "cache=disk")])
def test_no_room_is_said_before_anything_is_made(images: ImageSet, place: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"cache={place}: 12 images need .* but there are only .*{remedy}"):
        make_loader(images, config(cache=place, cache_gib=1e-9), train=True, pin=False)


def test_memory_is_bounded_by_what_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(cache_budget, "_CGROUP", tmp_path)
    assert cache_budget.free_memory(tmp_path) == 360_000


def test_a_cache_that_cannot_be_made(images: ImageSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUTRAIN_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(BadInput, match=r"the cache in .*below.* cannot be made: Not a directory"):
        make_loader(images, config(), train=True, pin=False)


def test_a_cache_in_memory_goes_with_its_last_run(images: ImageSet, memory: Path) -> None:
    first = make_loader(images, config(cache="ram"), train=True, pin=False)
    second = make_loader(images, config(cache="ram"), train=True, pin=False)
    epoch(first)
    assert epoch(second) == epoch(first)
    assert second.take_stats().cache_hits == 12
    first.close()
    assert list(memory.glob("*/*"))
    second.close()
    assert not list(memory.glob("*/*"))


def test_memory_that_a_killed_run_left_is_taken_back(images: ImageSet, memory: Path) -> None:
    left = memory / f"gputrain-{os.getuid()}" / "old"
    Store(left, 10, 1000).put(0, b"abc", 1, 1)
    in_use = Store(left.with_name("used"), 10, 1000)
    del left
    script = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom gputrain.engine.training.cache_store import Store\n"
        "Store(Path(sys.argv[1]), 10, 1000)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = memory / f"gputrain-{os.getuid()}" / "killed"
    assert subprocess.run([sys.executable, "-c", script, str(killed)]).returncode == -signal.SIGKILL
    assert killed.exists()
    opened(images, config(cache="ram")).close()
    assert not killed.exists()
    assert in_use.folder.exists()
    in_use.close()


def test_somebody_elses_folder_in_memory_is_refused(images: ImageSet, memory: Path, tmp_path: Path) -> None:
    (memory / f"gputrain-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="belongs to somebody else"):
        make_loader(images, config(cache="ram"), train=True, pin=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_store_keeps_what_was_put(place: Path) -> None:
    store = Store(place, 5, 10_000)
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
    again = Store(place, 5, 10_000)
    assert again.get(2) == entry
    assert bytes(again.map[entry.offset : entry.offset + 100]) == b"x" * 100
    again.close()


def test_a_claim_that_a_crash_left_is_taken_back(place: Path) -> None:
    store = Store(place, 5, 10_000)
    store.put(1, b"a" * 10, 1, 1)
    offset = store._claim(3, 100)  # as a writer that died at this point
    assert not store.put(3, b"b" * 100, 1, 1)
    for handle in (store._users, store._lock, store._data, store._table):
        os.close(handle)
    again = Store(place, 5, 10_000)
    assert again.put(3, b"b" * 100, 1, 1)
    entry = again.get(3)
    assert entry is not None
    assert entry.offset == offset  # the same place: no room is lost
    again.close()


def test_unsynchronised_entries_end_with_the_boot(place: Path) -> None:
    store = Store(place, 5, 10_000)
    store.put(0, b"a", 1, 1)
    store.commit()
    store.put(1, b"b", 1, 1)
    for handle in (store._users, store._lock, store._data, store._table):
        os.close(handle)
    (place / "boot").write_text("an earlier one")
    again = Store(place, 5, 10_000)
    assert again.get(0) is not None
    assert again.get(1) is None
    again.close()


def test_claims_of_a_living_run_are_left_alone(place: Path) -> None:
    store = Store(place, 5, 10_000)
    store._claim(3, 100)
    other = Store(place, 5, 10_000)
    assert not other.put(3, b"b" * 100, 1, 1)
    other.close()
    store.close()


def test_a_full_disk_stops_the_cache_and_not_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(place, 5, 10_000)

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
    store = Store(place, count, 1 << 20)
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
    store = Store(place, 400, 1 << 20)
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


_BUILD = """
import sys
from gputrain.engine import settings
from gputrain.engine.training.cache import build_cache
from gputrain.engine.training.images import scan
images = scan(sys.argv[1], "train")
values = dict(image_size=32, val_resize=40, num_workers=1, cache="disk")
build_cache(images, settings.build(values), lambda done, total: print(done, flush=True), train=True)
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return folder(tmp_path / "many", classes=2, per_class=150)


def test_a_build_that_is_killed_leaves_a_sound_half(many: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _BUILD, str(many)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "64\n"
    process.kill()
    process.communicate()
    images = scan(str(many), "train")
    source = opened(images, config())
    half = source.store.stored()
    assert half >= 64
    source.close()
    loader = make_loader(images, config(num_workers=0), train=True, pin=False)
    fresh = make_loader(images, config(num_workers=0, cache="ram"), train=True, pin=False)
    assert epoch(loader) == epoch(fresh)
    assert loader.take_stats().cache_hits == half
    loader.close()
    fresh.close()
