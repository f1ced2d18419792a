"""Image loader: batches are the same for any workers, follow the seeded order, and replace bad images."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.loading import copied, make, without_workers
from helpers.training.pictures import encoded, folder, picture

from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading import batch_sampler, random_resized_crop
from gputrain.engine.datasets.image_set import ImageSet, image_set, scan
from gputrain.engine.training.loader import make_loader
from gputrain.engine.training.loader.image_loader import ImageLoader


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return scan(str(folder(tmp_path_factory.mktemp("data"), classes=3, per_class=9)), "train")


@pytest.fixture(scope="module")
def expected(images: ImageSet) -> list[tuple[int, list[int], list[int], bytes]]:
    return without_workers(images)


@pytest.mark.parametrize(
    ("kind", "workers", "prefetch"), [("threads", 1, 1), ("threads", 3, 2), ("threads", 5, 1), ("processes", 2, 2)]
)
def test_batches_do_not_depend_on_workers(
    images: ImageSet, expected: Any, kind: str, workers: int, prefetch: int
) -> None:
    source = make(images, loader=kind, num_workers=workers, prefetch_factor=prefetch)
    assert copied(source.epoch(3)) == expected
    assert copied(source.epoch(3, start=2)) == expected[2:]
    assert copied(source.epoch(4)) != expected
    assert copied(source.epoch(3, start=len(source))) == []
    source.close()


def test_batches_follow_the_permutation(images: ImageSet, expected: Any) -> None:
    assert [batch[1] for batch in expected] == [
        batch_sampler.permutation(5, 3, 27)[4 * k : 4 * k + 4].tolist() for k in range(6)
    ]
    assert [batch[2] for batch in expected] == [images.labels[batch[1]].tolist() for batch in expected]


def test_a_sample_is_its_box_resized(images: ImageSet) -> None:
    batch = next(make(images).epoch(1))
    index = int(batch.indices[2])
    from gputrain.engine.training.transforms import decode

    pixels = decode.decode(Path(images.path(index)).read_bytes(), "a")
    draws = random_resized_crop.uniforms(5, 1, np.array([index]))[0].tolist()
    left, top, width, height = random_resized_crop.random_crop_box(draws, pixels.shape[1], pixels.shape[0], 0.08)
    part = torch.from_numpy(pixels[top : top + height, left : left + width]).permute(2, 0, 1)
    resized = torch.nn.functional.interpolate(part[None], size=(32, 32), mode="bilinear", antialias=True)
    assert torch.equal(batch.images[2], resized[0])
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_validation_has_every_image_in_order(images: ImageSet) -> None:
    source = make(images, train=False, val_batch_size=10)
    batches = copied(source.epoch(0))
    assert [batch[1] for batch in batches] == [list(range(10)), list(range(10, 20)), list(range(20, 27))]
    assert len(source) == 3
    assert copied(source.epoch(1)) == batches


def test_no_augmentation_is_the_same_in_each_epoch(images: ImageSet) -> None:
    source = make(images, augment="none", batch_size=27)
    first, second = next(source.epoch(0)), None
    by_index = dict(zip(first.indices.tolist(), first.images.clone(), strict=True))
    second = next(source.epoch(1))
    assert all(
        torch.equal(by_index[index], image) for index, image in zip(second.indices.tolist(), second.images, strict=True)
    )


def test_fewer_images_than_a_batch(images: ImageSet) -> None:
    source = make(images, batch_size=500)
    assert [len(batch[1]) for batch in copied(source.epoch(0))] == [27]


@pytest.fixture
def damaged(tmp_path: Path) -> ImageSet:
    """Ten images of which 0, 3, 4 and 9 are bad."""
    whole = encoded(picture(80, 70))
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(picture(80, 70, number)))
    (tmp_path / "0.jpg").write_bytes(b"")
    (tmp_path / "3.jpg").write_text("no image")
    (tmp_path / "4.jpg").unlink()
    (tmp_path / "9.jpg").write_bytes(whole[: len(whole) // 2])
    return image_set(tmp_path, [f"{n}.jpg" for n in range(10)], list(range(10)), [str(n) for n in range(10)])


@pytest.mark.parametrize(("kind", "workers"), [("threads", 0), ("threads", 3), ("processes", 2)])
def test_bad_images_are_replaced_from_a_random_position_on(damaged: ImageSet, kind: str, workers: int) -> None:
    source = make(damaged, loader=kind, num_workers=workers, batch_size=2)
    seen = copied(source.epoch(0))
    indices = list(itertools.chain.from_iterable(batch[1] for batch in seen))
    labels = list(itertools.chain.from_iterable(batch[2] for batch in seen))
    starts = random_resized_crop.uniforms(5, 0, np.arange(10), 1, random_resized_crop.REPLACING)[:, 0] * 10
    good = [1, 2, 5, 6, 7, 8]
    replaced = {bad: next(i for i in [*range(int(starts[bad]), 10), *good] if i in good) for bad in (0, 3, 4, 9)}
    assert len(set(replaced.values())) > 1
    assert indices == [replaced.get(index, index) for index in batch_sampler.permutation(5, 0, 10).tolist()]
    assert labels == indices
    stats = source.take_stats()
    assert stats.bad_images == 4
    reasons = dict(example.split("/")[-1].split(": ", 1) for example in stats.bad_examples)
    assert reasons["0.jpg"] == "the file is empty"
    assert reasons["3.jpg"] == "not an image of a known format"
    assert reasons["4.jpg"] == "cannot be read: No such file or directory"
    assert "truncated" in reasons["9.jpg"]
    list(source.epoch(1))
    assert source.take_stats().bad_images == 0  # each file counts once
    source.close()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_too_many_bad_images_end_the_run(damaged: ImageSet, kind: str) -> None:
    source = make(damaged, loader=kind, max_bad_images=3, batch_size=2, num_workers=1)
    with pytest.raises(
        BadInput, match=r"4 images cannot be read, more than max_bad_images \(3\); the first is .*jpg: .*"
    ):
        list(source.epoch(0))
    source.close()


def test_only_bad_images_end_the_run(tmp_path: Path) -> None:
    names = [f"{n}.jpg" for n in range(5)]
    for name in names:
        (tmp_path / name).touch()
    source = make(image_set(tmp_path, names, [0] * 5, ["a"]), max_bad_images=100)
    with pytest.raises(
        BadInput, match=r"none of the 5 images can be read; the first is .*: the file is empty\. Repair"
    ):
        list(source.epoch(0))


@pytest.mark.parametrize(("kind", "workers"), [("threads", 0), ("threads", 2), ("processes", 1)])
def test_accounting(images: ImageSet, kind: str, workers: int) -> None:
    source = make(images, loader=kind, num_workers=workers)
    list(source.epoch(0))
    stats = source.take_stats()
    assert stats.kind == ("inline" if not workers else kind)
    assert stats.workers == max(1, workers)
    assert stats.samples == 24
    used = batch_sampler.permutation(5, 0, 27)[:24]
    assert stats.bytes_read == sum(Path(images.path(int(index))).stat().st_size for index in used)
    assert stats.busy is not None
    assert 0 < stats.busy <= 1
    assert stats.cpu_ratio is not None
    assert 0 < stats.cpu_ratio <= 1.1
    assert stats.read_share is not None
    assert 0 < stats.read_share < 1
    assert stats.run_delay is None or 0 <= stats.run_delay <= 1
    empty = source.take_stats()
    assert (empty.samples, empty.cpu_ratio, empty.read_share, empty.bytes_read) == (0, None, None, 0)
    source.close()


def test_the_queue_fills_while_the_loop_is_busy(images: ImageSet) -> None:
    source = make(images, num_workers=1, prefetch_factor=2)
    running = source.epoch(0)
    next(running)
    assert isinstance(source, ImageLoader)
    waited = threading.Event()
    for _ in range(2000):
        if source.queue() == (2, 2):
            break
        waited.wait(0.005)
    assert source.queue() == (2, 2)
    source.close()
    assert source.queue() == (0, 2)


def test_auto_uses_threads_up_to_a_limit(images: ImageSet) -> None:
    assert make(images, loader="auto", num_workers=make_loader.MAX_THREADS).take_stats().kind == "threads"
    many = make(images, loader="auto", num_workers=make_loader.MAX_THREADS + 1)
    assert many.take_stats().kind == "processes"
    many.close()
