"""Folders with unusual files: files that are no images, and images that few programs read correctly."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.oddimages import deep_png, png
from helpers.training.pictures import encoded, folder, picture
from helpers.training.training_tools import draw_images, small_config, train
from PIL import Image

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.datasets import bad_image_list
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.events import EpochEnded, LoaderStats, Notice, Outcome
from gputrain.engine.imaging.decoding import Decoding
from gputrain.engine.training.cache import image_cache
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.runtime.batch import Batch
from gputrain.engine.training.transforms import decode

GOOD = encoded(picture(96, 80, 1))


def animated(kind: str) -> bytes:
    """Three frames of one colour each, red first."""
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, lossless=True)


BAD = {
    "a_empty.jpg": (b"", "the file is empty"),
    "b_cut_off.jpg": (GOOD[: len(GOOD) // 2], "truncated"),
    "c_web_page.jpg": (b"<html>404</html>", "not an image of a known format"),
    "d_torn_header.jpg": (GOOD[:30], "cannot be decoded|not an image"),
    "e_bomb.png": (png(60_000, 60_000, 8, 2, bytes(100)), "limit|bomb"),
    "f_torn.png": (encoded(picture(50, 50), "PNG")[:900], "cannot be decoded"),
    "g_wrong_sum.png": (encoded(picture(50, 50), "PNG").replace(b"IDAT", b"IDAT\xff", 1), "cannot be decoded"),
}
UNUSUAL = {
    "h_print.jpg": encoded(picture(96, 80).convert("CMYK")),
    "i_deep.png": deep_png(np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)),
    "j_moving.gif": animated("GIF"),
    "k_moving.webp": animated("WEBP"),
    "l_moving.png": animated("PNG"),
}


@pytest.fixture
def wild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """Two classes of good images and one with all files above; caches in memory go to the test's folder."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(image_cache, "SHARED_MEMORY", tmp_path / "shm")
    home = folder(tmp_path / "data", classes=2, per_class=7)
    odd = home / "train" / "odd"
    odd.mkdir()
    for name, content in [(name, content) for name, (content, _) in BAD.items()] + list(UNUSUAL.items()):
        (odd / name).write_bytes(content)
    return scan(str(home), "train")


def config(**changes: Any) -> Any:
    values = {"image_size": 32, "val_resize": 40, "batch_size": 4, "num_workers": 2, "loader": "threads", "seed": 3}
    return settings.build(values | changes)


def content(batches: Iterator[Batch]) -> list[tuple[list[int], list[int], bytes]]:
    return [(b.indices.tolist(), b.labels.tolist(), b.images.contiguous().numpy().tobytes()) for b in batches]


CACHES = [("none", "raw"), ("ram", "raw"), ("disk", "raw"), ("ram", "jpeg"), ("disk", "jpeg")]


@pytest.mark.parametrize(("place", "form"), CACHES)
def test_an_epoch_is_complete_whatever_files_the_folder_contains(wild: ImageSet, place: str, form: str) -> None:
    epochs, lists = [], []
    for changes in ({"num_workers": 0}, {"loader": "threads"}, {"loader": "processes"}):
        found: list[tuple[str, str]] = []
        loader = make_loader(
            wild, config(cache=place, cache_form=form, **changes), train=True, pin=False, on_bad=found.extend
        )
        epochs.append(content(loader.epoch(0)) + content(loader.epoch(1)))
        loader.close()
        lists.append(sorted(found))
    assert epochs[0] == epochs[1] == epochs[2]
    assert lists[0] == lists[1] == lists[2]
    reasons = {Path(path).name: why for path, why in lists[0]}
    assert set(reasons) == set(BAD), "each once, over both epochs; nothing that can be decoded among them"
    for name, (_, why) in BAD.items():
        assert any(part in reasons[name] for part in why.split("|")), reasons[name]
    used = {index for batch in epochs[0] for index in batch[0]}
    assert not {Path(wild.path(index)).name for index in used} & set(BAD)
    for indices, labels, _ in epochs[0]:
        assert labels == wild.labels[indices].tolist()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_files_deleted_in_mid_epoch_are_replaced(wild: ImageSet, kind: str) -> None:
    """The epoch keeps its number of samples, none of them from the deleted files."""
    found: list[tuple[str, str]] = []
    loader = make_loader(
        wild, config(loader=kind, num_workers=1, prefetch_factor=1), train=True, pin=False, on_bad=found.extend
    )
    running = loader.epoch(0)
    next(running)
    gone = {Path(wild.path(index)).name for index in range(len(wild)) if wild.labels[index] == 0}
    for path in (Path(wild.root) / "class_0").iterdir():
        path.unlink()
    rest = list(content(running))
    assert [len(batch[0]) for batch in rest] == [4] * 5
    # One batch was made ahead before the files went.
    assert all(label != 0 for _, labels, _ in rest[1:] for label in labels)
    vanished = {Path(path).name for path, why in found if why == "cannot be read: No such file or directory"}
    assert vanished
    assert vanished <= gone
    loader.close()


def test_cmyk_is_converted_to_rgb() -> None:
    for colour in ((200, 30, 40), (20, 180, 60), (250, 250, 250), (5, 5, 5)):
        data = encoded(Image.new("RGB", (32, 32), colour).convert("CMYK"), quality=95)
        assert np.abs(decode.decode(data, "a").astype(int) - colour).max() <= 4


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_is_scaled_and_not_clipped(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    found = decode.decode(deep_png(pixels), "a").astype(int)
    assert np.abs(found - pixels[:, :, :3] / 257).max() <= 1


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floating_point_grey_images(scale: float) -> None:
    grey = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    data = encoded(Image.fromarray(grey * np.float32(scale)), "TIFF")
    found = decode.decode(data, "a", Decoding(ValueRange(0, scale))).astype(int)
    assert np.abs(found - 255 * grey[:, :, None]).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_shows_its_first_frame(kind: str) -> None:
    data = animated(kind)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert np.abs(decode.decode(data, "a").astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(("limit", "images", "bad"), [(100.0, 50, 100), (0.0, 50, 0), (1.0, 50, 1), (0.1, 50, 5)])
def test_a_limit_is_a_count_or_a_share(limit: float, images: int, bad: int) -> None:
    assert bad_image_list.bad_image_limit(limit, images) == bad


def test_a_share_of_bad_images_ends_the_run(wild: ImageSet) -> None:
    loader = make_loader(wild, config(max_bad_images=0.2), train=True, pin=False)
    with pytest.raises(BadInput, match=r"6 images cannot be read, more than max_bad_images \(5\); the first is .*odd/"):
        list(loader.epoch(0))
    loader.close()


def test_a_run_lists_its_bad_images(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", per_class=8)
    (images / "train" / "down" / "3.jpg").write_text("this is no picture")
    (images / "val" / "spots" / "1.jpg").write_bytes(GOOD[:700])
    result = train(tmp_path, small_config(images, epochs=2))
    assert result.ended.outcome is Outcome.FINISHED
    with (tmp_path / bad_image_list.LIST).open(newline="") as file:
        rows = sorted(csv.reader(file))
    assert rows[0] == ["split", "path", "reason"]
    assert rows[1] == ["training", str(images / "train" / "down" / "3.jpg"), "not an image of a known format"]
    assert rows[2][:2] == ["validation", str(images / "val" / "spots" / "1.jpg")]
    assert "truncated" in rows[2][2]
    assert len(rows) == 3
    told = [event.text for event in result.of(Notice) if event.level == "warning"]
    assert [text.split(": ")[0] for text in told] == [
        "1 unreadable training images were replaced by others",
        "1 unreadable validation images were replaced by others",
    ]
    assert all(text.endswith("; all are in bad_images.csv") for text in told)
    assert sum(event.bad_images for event in result.of(LoaderStats)) == 1
    assert len(result.of(EpochEnded)) == 2


def test_a_run_with_too_many_says_where_they_are(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", per_class=8)
    for number in range(4):
        (images / "train" / "down" / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match=r"more than max_bad_images \(2\); .* \(bad_images.csv has them all\)"):
        train(tmp_path, small_config(images, epochs=1, max_bad_images=2))
    with (tmp_path / bad_image_list.LIST).open(newline="") as file:
        assert len(list(csv.reader(file))) >= 1 + 3


def test_an_unwritable_list_does_not_end_the_run(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", per_class=8)
    (images / "train" / "down" / "3.jpg").write_bytes(b"")
    (tmp_path / bad_image_list.LIST).mkdir()
    result = train(tmp_path, small_config(images, epochs=1))
    assert result.ended.outcome is Outcome.FINISHED
    assert [e.text for e in result.of(Notice) if "cannot be written" in e.text] == [
        "bad_images.csv cannot be written: Is a directory"
    ]


def test_torch_gets_writable_memory(wild: ImageSet) -> None:
    """Pillow's read-only buffers would cause a warning in torch, and warnings are errors in tests."""
    out = torch.empty((1, 3, 32, 32), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    for name, data in UNUSUAL.items():
        decode.decode_into(
            data, name, lambda width, height: random_resized_crop.center_crop_box(width, height, 40, 32), out[0]
        )
        assert out.any()
