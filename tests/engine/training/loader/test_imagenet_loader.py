"""ImageNet's own archives: the images, classes and order of torchvision's ImageNet, and its losses; faults by name."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from helpers.training import imagenet_archives as archives
from helpers.training.imagenet_archives import KIT, TRAIN, VAL, WNIDS
from helpers.training.loading import copied, make
from helpers.training.shards import tar
from helpers.training.training_tools import draw_images, opened, small_config, train

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import mat_file
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import EpochEnded, Outcome, Validated


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagenet")
    return archives.write(draw_images(folder / "pictures"), folder / "archives")


@pytest.fixture(scope="module")
def extracted(made: Path) -> Path:
    """The folders that torchvision's ImageNet unpacks from the same archives; its code, with these archives' sums."""
    from torchvision.datasets import imagenet

    root = shutil.copytree(made, made.parent / "torchvision")
    before = imagenet.ARCHIVE_META
    imagenet.ARCHIVE_META = {
        key: (name, archives.md5(root / name)) for key, name in (("train", TRAIN), ("val", VAL), ("devkit", KIT))
    }
    try:
        for split in ("train", "val"):
            found = imagenet.ImageNet(str(root), split=split)
            assert found.wnids == sorted(WNIDS)
            (root / f"{split}.txt").write_text("".join(f"{path} {label}\n" for path, label in found.samples))
    finally:
        imagenet.ARCHIVE_META = before
    return root


def config(folder: Path, **changes: object) -> RunConfig:
    return small_config(folder, **{"dataset": "imagenet", **changes})


def images_of(images: ImageSet) -> list[tuple[str, bytes, int]]:
    assert images.shards is not None
    return [(Path(images.path(at)).name, images.shards.read(at), int(images.labels[at])) for at in range(len(images))]


def test_images_classes_and_order_are_those_of_torchvision(made: Path, extracted: Path) -> None:
    data, _ = opened(config(made))
    assert data.val is not None
    assert data.train.classes == data.val.classes == tuple(sorted(WNIDS))
    assert not data.warnings
    for split, images in (("train", data.train), ("val", data.val)):
        samples = [line.rsplit(" ", 1) for line in (extracted / f"{split}.txt").read_text().splitlines()]
        expected = [(Path(path).name, Path(path).read_bytes(), int(label)) for path, label in samples]
        assert images_of(images) == expected
    assert not [path for path in made.iterdir() if path.is_dir()], "nothing was unpacked"


def test_the_same_batches_as_unpacked(made: Path, extracted: Path) -> None:
    ours, _ = opened(config(made))
    theirs, _ = opened(small_config(extracted))
    loader = make(ours.train, train=True)
    assert copied(loader.epoch(1)) == copied(make(theirs.train, train=True).epoch(1))
    loader.close()


@pytest.mark.long
def test_the_same_losses_as_unpacked(made: Path, extracted: Path, tmp_path: Path) -> None:
    """To the bit; also of a run that is resumed in mid-epoch with another number of workers."""
    for name in "ab":
        (tmp_path / name).mkdir()
    reference = train(tmp_path / "a", small_config(extracted))
    assert reference.ended.outcome == Outcome.FINISHED
    stopped = train(tmp_path / "b", config(made), stop_at=8)
    start = max((tmp_path / "b" / "checkpoints").glob("*.pt"))
    rest = train(tmp_path / "b", config(made, resume_from=str(start), num_workers=1))
    for kind, value in ((EpochEnded, "train_loss"), (Validated, "metrics")):
        both = [getattr(event, value) for event in (*stopped.of(kind), *rest.of(kind))]
        assert both == [getattr(event, value) for event in reference.of(kind)]


def test_the_classes_of_validation_images_from_other_files(made: Path, tmp_path: Path) -> None:
    """An unpacked kit, and Kaggle's table."""
    expected = images_of(_val(config(made)))
    home = shutil.copytree(made, tmp_path / "unpacked")
    with tarfile.open(home / KIT) as kit:
        kit.extractall(home, filter="data")
    (home / KIT).unlink()
    assert images_of(_val(config(home))) == expected
    home = shutil.copytree(made, tmp_path / "kaggle")
    table = home / "LOC_val_solution.csv"
    archives.write_kaggle_table(home / KIT, table, archives.truth_of(made / KIT))
    assert images_of(_val(config(home))) == expected
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes() + b"\r\n")  # as a spreadsheet program saves it
    assert images_of(_val(config(home))) == expected


def _val(wanted: RunConfig) -> ImageSet:
    found = opened(wanted)[0].val
    assert found is not None
    return found


def test_other_labels_give_another_index(made: Path, tmp_path: Path) -> None:
    home = shutil.copytree(made, tmp_path / "home")
    before = _val(config(home)).labels.tolist()
    numbers = [number % 3 + 1 for number in archives.truth_of(home / KIT)]
    archives.write_kaggle_table(home / KIT, home / "LOC_val_solution.csv", numbers)
    after = _val(config(home))
    assert sorted(after.labels.tolist()) == sorted(before)
    assert images_of(after) != images_of(_val(config(made)))


def test_another_table_of_synsets_gives_another_index(made: Path, tmp_path: Path) -> None:
    """Beside the list of an unpacked kit, which stays the same."""
    home = shutil.copytree(made, tmp_path / "home")
    with tarfile.open(home / KIT) as kit:
        kit.extractall(home, filter="data")
    (home / KIT).unlink()
    before = images_of(_val(config(home)))
    table = home / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    table.write_bytes(archives.meta_mat(archives.WNIDS[::-1]))
    assert images_of(_val(config(home))) != before


def test_a_cut_archive_is_named_and_its_whole_images_are_used(made: Path, tmp_path: Path) -> None:
    """Cut off in the second of its tars, and with a damaged header in the first."""
    home = shutil.copytree(made, tmp_path / "home")
    path = home / TRAIN
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    second = members[1].offset_data
    path.write_bytes(content[: second + members[1].size // 2 + 700])
    data, _ = opened(config(home, val_split=""))
    counts = {name: data.train.labels.tolist().count(label) for label, name in enumerate(data.train.classes)}
    assert counts[WNIDS[0]] == 12
    assert 0 < counts[WNIDS[1]] < 12
    assert WNIDS[2] not in counts
    whole = {(name, image) for name, image, _ in images_of(opened(config(made))[0].train)}
    assert {(name, image) for name, image, _ in images_of(data.train)} <= whole
    assert len(data.warnings) == 1
    assert f"{TRAIN}: {WNIDS[1]}.tar: cut off in {WNIDS[1]}_" in data.warnings[0]
    with pytest.raises(BadInput, match=r"damaged in 1 places, more than max_bad_images \(0\)"):
        opened(config(home, val_split="", max_bad_images=0))
    start = content.index(b"ustar", members[0].offset_data + 2048) - 257
    path.write_bytes(content[:start] + b"x" * 512 + content[start + 512 :])
    damaged, _ = opened(config(home, val_split=""))
    assert len(damaged.train) == 35
    assert f"{WNIDS[0]}.tar: no tar header (at byte {start:,})" in damaged.warnings[0]


def test_missing_and_wrong_files_are_named(made: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(BadInput, match=rf"train_split: .*{TRAIN} is missing; train_split is train, val, or the name"):
        opened(config(home))
    shutil.copy(made / TRAIN, home)
    shutil.copy(made / VAL, home)
    with pytest.raises(BadInput, match=rf"val_split: .* has no classes for the images in {VAL}: copy {KIT} or"):
        opened(config(home))
    assert len(opened(config(home, val_split=""))[0].train) == 36
    (home / KIT).write_bytes((made / KIT).read_bytes()[:300])
    with pytest.raises(BadInput, match=rf"{KIT}: cannot be read: "):
        opened(config(home))
    (home / KIT).unlink()
    (home / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n")
    with pytest.raises(BadInput, match=r"LOC_val_solution.csv has no class for the image 'ILSVRC2012_val_0000"):
        opened(config(home))
    tar(home / "other.tar", [("n01440764.tar", b"x" * 600), ("readme.txt", b"text")])
    with pytest.raises(BadInput, match=r"have no images; other.tar: n01440764.tar: no tar header"):
        opened(config(home, train_split="other.tar", val_split=""))


def test_the_table_of_synsets_is_read_as_by_scipy() -> None:
    rows = mat_file.read_table(archives.meta_mat(), "synsets")
    assert [(row["ILSVRC2012_ID"], row["WNID"], row["num_children"]) for row in rows] == [
        (1, WNIDS[0], 0),
        (2, WNIDS[1], 0),
        (3, WNIDS[2], 0),
        (4, "n00001740", 2),
    ]
    assert rows[0]["gloss"] == "a glöss"
    assert "children" not in rows[3], "two numbers"
    with pytest.raises(mat_file.BadMatFile, match="it has no table 'other'"):
        mat_file.read_table(archives.meta_mat(), "other")
    with pytest.raises(mat_file.BadMatFile, match="damaged"):
        mat_file.read_table(archives.meta_mat()[:-20], "synsets")
