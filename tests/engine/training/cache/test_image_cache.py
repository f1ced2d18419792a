"""Image cache: cached pixels equal the files', builds ahead or during training, repair of damage."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.caching import config, epoch, opened, own_memory
from helpers.training.pictures import encoded, folder, picture

from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.training.cache.build_cache import build_cache
from gputrain.engine.training.cache.cache_forms import CachedImage, RawForm
from gputrain.engine.training.loader.make_loader import make_loader


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return scan(str(folder(tmp_path / "data", classes=2, per_class=6)), "train")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_memory(tmp_path, monkeypatch)


@pytest.mark.parametrize("place", ["ram", "disk"])
@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_the_first_epoch_equals_later_ones(images: ImageSet, place: str, form: str) -> None:
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


@pytest.mark.parametrize(("changes", "part", "side"), [({}, 1.0, 46), ({"augment": "none"}, 0.625, 64)])
def test_crops_of_cached_images_have_enough_pixels(
    images: ImageSet, changes: dict[str, Any], part: float, side: int
) -> None:
    """The smallest crop of a picture or of a face in it has at least the model's image size."""
    margin = (1 - part) / 2
    boxes = np.array([[margin, margin, 1 - margin, 1 - margin]] * len(images), dtype=np.float32)
    source = opened(dataclasses.replace(images, boxes=boxes), config(crop_min_scale=0.5, **changes))
    source.prepare(0, BatchAccounting())
    entry = source.store.get(0)
    assert entry is not None
    assert min(entry.width, entry.height) == side
    source.close()


def test_validation_from_the_raw_cache_equals_the_files(images: ImageSet) -> None:
    raw = make_loader(images, config(), train=False, pin=False)
    plain = make_loader(images, config(cache="none"), train=False, pin=False)
    assert epoch(raw) == epoch(plain)
    assert epoch(raw) == epoch(plain)
    raw.close()


def test_a_build_continues_where_it_ended(images: ImageSet) -> None:
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
def test_damaged_tiles_are_encoded_again(images: ImageSet, kind: str) -> None:
    """Damage anywhere in a cached image: header, offsets, pieces."""
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
def test_a_flipped_bit_is_found_and_repaired(images: ImageSet, form: str, kind: str) -> None:
    """No decoder would notice it: the next run encodes the image again, once, and counts it."""
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


def test_a_build_uses_one_torch_thread_per_worker(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = set()
    original = RawForm.encode

    def encode(self: RawForm, data: bytes, path: str) -> CachedImage:
        if threading.current_thread().name.startswith("cache"):
            counts.add(torch.get_num_threads())
        return original(self, data, path)

    monkeypatch.setattr(RawForm, "encode", encode)
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


@pytest.mark.parametrize("change", ["content", "same size and time", "settings", "form", "name"])
def test_a_change_makes_another_cache(images: ImageSet, tmp_path: Path, change: str) -> None:
    before = build_cache(images, config(), lambda done, total: None, train=True)
    after = config()
    if change == "content":
        Path(images.path(0)).write_bytes(encoded(picture(80, 70, 99)))
    elif change == "same size and time":
        file = Path(images.path(0))
        data, times = bytearray(file.read_bytes()), file.stat()
        data[-9] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "settings":
        after = config(cache_resolution=48)
    elif change == "form":
        after = config(cache_form="jpeg")
    else:
        Path(images.path(0)).rename(Path(images.path(0)).with_name("0001.jpg"))
        images = scan(str(tmp_path / "data"), "train")
    assert build_cache(images, after, lambda done, total: None, train=True).folder != before.folder


def test_images_that_were_moved_keep_their_cache(images: ImageSet, tmp_path: Path) -> None:
    before = build_cache(images, config(), lambda done, total: None, train=True)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    moved = scan(str(tmp_path / "elsewhere"), "train")
    with closing(opened(moved, config())) as source:
        assert source.store.folder == before.folder
        assert source.store.stored() == before.images == 12


_BUILD = """
import sys
from gputrain.engine.configuration import settings
from gputrain.engine.training.cache.build_cache import build_cache
from gputrain.engine.datasets.image_set import scan
images = scan(sys.argv[1], "train")
values = dict(image_size=32, val_resize=40, num_workers=1, cache="disk")
build_cache(images, settings.build(values), lambda done, total: print(done, flush=True), train=True)
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return folder(tmp_path / "many", classes=2, per_class=150)


def test_a_killed_build_leaves_a_valid_part(many: Path) -> None:
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
