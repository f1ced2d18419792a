"""Quick image count of a folder: agrees with the scan, and stops at the time limit."""

from __future__ import annotations

from pathlib import Path

from fakes.images import SIDE, dark_and_light
from PIL import Image

from gputrain.engine.datasets import image_set
from gputrain.engine.datasets.class_folder_count import count_images
from gputrain.engine.estimates.host_memory import DataFacts


def test_the_count_equals_the_scan(tmp_path: Path) -> None:
    root = dark_and_light(tmp_path, 6)
    deeper = root / "train" / "dark" / "more"
    deeper.mkdir()
    (root / "train" / "dark" / "0.jpg").rename(deeper / "UPPER.JPG")
    for name in ("train/dark/notes.txt", "train/dark/.hidden.jpg", "train/loose.jpg"):
        (root / name).write_bytes(b"x")
    (root / "train" / ".cache").mkdir()
    (root / "train" / ".cache" / "1.jpg").write_bytes(b"x")
    facts = count_images(root, "train", "val")
    assert facts is not None
    found = image_set.scan(str(root), "train")
    assert (facts.train_images, facts.val_images) == (len(found), len(image_set.scan(str(root), "val"))) == (12, 12)
    sizes = [Path(found.path(index)).stat().st_size for index in range(len(found))]
    assert facts.file_bytes is not None
    assert min(sizes) * 12 <= facts.file_bytes <= max(sizes) * 12
    assert facts.short_side == SIDE


def test_short_sides_are_measured_without_bad_files(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "some"
    folder.mkdir(parents=True)
    for number in range(101):
        Image.new("RGB", (90, 60) if number % 2 else (30, 40)).save(folder / f"{number:03}.jpg")
    facts = count_images(tmp_path, "train", "")
    assert facts is not None
    assert facts.short_side in (30, 40, 45, 50, 60)
    for file in folder.iterdir():
        file.write_bytes(b"no image")
    facts = count_images(tmp_path, "train", "")
    assert facts is not None
    assert (facts.train_images, facts.short_side) == (101, None)


def test_uncountable_folders_give_none(tmp_path: Path) -> None:
    assert count_images(tmp_path, "train", "val") is None
    (tmp_path / "train" / "empty").mkdir(parents=True)
    assert count_images(tmp_path, "train", "") is None
    (tmp_path / "train" / "empty" / "loop").symlink_to(tmp_path / "train")
    assert count_images(tmp_path, "train", "", seconds=0.2) is None


def test_counting_stops_at_the_time_limit(tmp_path: Path) -> None:
    root = dark_and_light(tmp_path, 2)
    assert count_images(root, "train", "val", seconds=-1.0) is None
    assert isinstance(count_images(root, "train", ""), DataFacts)
