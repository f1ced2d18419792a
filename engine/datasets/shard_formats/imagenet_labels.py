"""The classes of ImageNet's validation images: of the development kit, or of Kaggle's LOC_val_solution.csv."""

from __future__ import annotations

import csv
import io
import tarfile
import zlib
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets import mat_file
from gputrain.engine.datasets.folder_layouts import shown

SOURCES = ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12", "LOC_val_solution.csv")
"""Files and folders with the classes, by preference: the development kit, packed or unpacked, and Kaggle's table."""
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_TABLE = "meta.mat"
_IMAGE = "ILSVRC2012_val_{:08d}"


def labels_file(home: Path) -> Path | None:
    """The file in `home` that has the classes; of an unpacked kit the list of classes. None if there is none."""
    for name in SOURCES:
        path = home / name
        if path.is_file():
            return path
        if (path / "data" / _TRUTH).is_file():
            return path / "data" / _TRUTH
    return None


def files_of(labels: str) -> list[str]:
    """The files that `classes_of_images` reads for this one."""
    path = Path(labels)
    return [labels, str(path.parent / _TABLE)] if path.suffix == ".txt" else [labels]


def classes_of_images(path: Path) -> dict[str, str]:
    """WordNet ID of each validation image by its name without suffix. Raises BadInput."""
    try:
        if path.suffix == ".csv":
            return _of_kaggle(path)
        if path.suffix == ".txt":
            return _of_kit(path, path.read_bytes(), (path.parent / _TABLE).read_bytes())
        with tarfile.open(path) as archive:
            found = {Path(member.name).name: member for member in archive if member.isfile()}
            truth, table = (_content(archive, found.get(name), path, name) for name in (_TRUTH, _TABLE))
        return _of_kit(path, truth, table)
    except (OSError, tarfile.TarError, zlib.error, EOFError, UnicodeError, csv.Error) as error:
        raise BadInput(f"{shown(path)}: cannot be read: {plain(str(error), 150)}") from None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo | None, path: Path, name: str) -> bytes:
    file = None if member is None else archive.extractfile(member)
    if file is None:
        raise BadInput(f"{shown(path)} has no data/{name}; download it anew")
    return file.read()


def _of_kit(path: Path, truth: bytes, table: bytes) -> dict[str, str]:
    """By the kit's numbers of classes: a line for each image, and a table of synsets, whose leaves are the classes."""
    try:
        rows = mat_file.read_table(table, "synsets")
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if not int(row["num_children"])}
        numbers = [int(line) for line in truth.split()]
        return {_IMAGE.format(place): wnids[number] for place, number in enumerate(numbers, 1)}
    except (mat_file.BadMatFile, KeyError, ValueError) as error:
        raise BadInput(f"{shown(path)}: the classes cannot be read ({plain(str(error), 100)}); copy it anew") from None


def _of_kaggle(path: Path) -> dict[str, str]:
    """By rows ``ImageId,PredictionString``, whose second field begins with the class."""
    found: dict[str, str] = {}
    # A spreadsheet program leaves a mark in front of the first line, and perhaps an empty last one.
    for line, row in enumerate(csv.reader(io.StringIO(path.read_text("utf-8-sig"))), 1):
        if not row or (line == 1 and row[0] == "ImageId"):
            continue
        words = row[1].split() if len(row) > 1 else []
        if not words:
            raise BadInput(f"{shown(path)}:{line}: expected ImageId,PredictionString")
        found[row[0]] = words[0]
    return found
