"""ImageNet's archives in small: a tar of class tars, a flat tar of validation images, and the development kit."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gputrain.engine.datasets.image_set import scan
from helpers.training.shards import tar

WNIDS = ("n02119789", "n01440764", "n09835506")
"""Classes by their number in the kit, which is not their order."""
TRAIN, VAL, KIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


def write(images: Path, to: Path) -> Path:
    """The three archives in `to`, of the images in class folders ``images/{train,val}``; class k becomes ``WNIDS[k]``.

    Names in the archives are in another order than sorted, as in the real ones.
    """
    to.mkdir(parents=True, exist_ok=True)
    found = scan(str(images), "train")
    inner: dict[str, list[tuple[str, bytes]]] = {wnid: [] for wnid in WNIDS}
    for at in range(len(found)):
        wnid = WNIDS[int(found.labels[at])]
        name = f"{wnid}_{(at * 7) % 40}.JPEG"
        inner[wnid].append((name, Path(found.path(at)).read_bytes()))
    tars = [(f"{wnid}.tar", _packed(files)) for wnid, files in inner.items()]
    tar(to / TRAIN, tars, tarfile.GNU_FORMAT)
    found = scan(str(images), "val")
    order = np.random.default_rng(0).permutation(len(found)).tolist()
    files = [
        (f"ILSVRC2012_val_{place:08d}.JPEG", Path(found.path(at)).read_bytes()) for place, at in enumerate(order, 1)
    ]
    tar(to / VAL, reversed(files), tarfile.GNU_FORMAT)
    _write_kit(to / KIT, [int(found.labels[at]) + 1 for at in order])
    return to


def write_kaggle_table(kit: Path, to: Path, numbers: list[int]) -> None:
    """LOC_val_solution.csv of the validation images with these numbers of classes; removes the kit."""
    kit.unlink()
    with to.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for place, number in reversed(list(enumerate(numbers, 1))):
            rows.writerow([f"ILSVRC2012_val_{place:08d}", f"{WNIDS[number - 1]} 1 2 3 4 {WNIDS[0]} 5 6 7 8"])


def truth_of(kit: Path) -> list[int]:
    """The numbers of classes in a kit."""
    with tarfile.open(kit) as archive:
        file = archive.extractfile("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
        assert file is not None
        return [int(line) for line in file.read().split()]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _packed(files: list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def _write_kit(path: Path, numbers: list[int]) -> None:
    home = "ILSVRC2012_devkit_t12"
    truth = "".join(f"{number}\n" for number in numbers).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (
            (f"{home}/readme.txt", b"kit\n"),
            (f"{home}/data/meta.mat", meta_mat()),
            (f"{home}/data/ILSVRC2012_validation_ground_truth.txt", truth),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def meta_mat(wnids: Sequence[str] = WNIDS) -> bytes:
    """The kit's table of synsets, by SciPy: classes, and above them one that is none."""
    scipy = pytest.importorskip("scipy.io", reason="scipy is not installed (pip install -e '.[dev]')")
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    rows: list[tuple[Any, ...]] = [
        (number, wnid, f"name {number}, other name", "a glöss", 0, np.empty((1, 0)), 0)
        for number, wnid in enumerate(wnids, 1)
    ]
    rows.append((len(WNIDS) + 1, "n00001740", "entity", "all", 2, np.array([[1.0, 2.0]]), 1))
    table = np.array(rows, dtype=[(name, object) for name in fields]).reshape(-1, 1)
    content = io.BytesIO()
    scipy.savemat(content, {"synsets": table}, do_compression=True)
    return content.getvalue()
