"""Labels of image folders from files: ``labels.csv`` (path, label) and ``class_to_idx.json`` (name → number)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown, split_folder

LABELS = "labels.csv"
"""In the folder of a split, or in data_dir with paths that begin with the split: a header ``path,label``, then a row
for each image."""
CLASS_INDEX = "class_to_idx.json"
"""In data_dir: an object of class name and number, as torchvision's ``ImageFolder.class_to_idx``."""
_MOST_CLASSES = 1 << 24


class LabelledFiles(NamedTuple):
    """The images of a split in the order of its ``labels.csv``."""

    folder: Path
    names: list[str]
    """Paths relative to `folder`."""
    labels: list[int]
    classes: tuple[str, ...]


def labels_file(data_dir: str, split: str, setting: str) -> Path | None:
    """The ``labels.csv`` of a split; None if it has none. Raises BadInput if there is no folder of the split."""
    folder = split_folder(data_dir, split, setting)
    for path in (folder / LABELS, folder.parent / LABELS):
        if path.is_file() and _header(path) == ["path", "label"]:
            return path
    return None


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [cell.strip().lower() for cell in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{shown(path)}: cannot be read ({plain(str(error), 200)})") from None


def labelled_files(
    data_dir: str, split: str, setting: str, classes: Sequence[str] | None = None
) -> LabelledFiles | None:
    """The images and labels that the split's ``labels.csv`` names; None without that file.

    `classes` are those of the training split. Raises BadInput with file, line and remedy.
    """
    path = labels_file(data_dir, split, setting)
    if path is None:
        return None
    folder = split_folder(data_dir, split, setting)
    rows = _rows(path, "" if path.parent == folder else f"{split.strip('/')}/")
    if not rows:
        raise BadInput(f"{setting}: {shown(path)} names no image of '{plain(split, 100)}'")
    names = _class_names(path, [label for _, label, _ in rows], classes, class_index(data_dir))
    code = {name: number for number, name in enumerate(names)}
    labels = []
    for _, label, number in rows:
        if label not in code:
            what = "the training images don't have" if classes is not None else f"{CLASS_INDEX} does not have"
            hint = did_you_mean(label, names)
            raise BadInput(f"{shown(path)}:{number}: '{plain(label, 100)}' is a class that {what}{hint}")
        labels.append(code[label])
    return LabelledFiles(folder, [name for name, _, _ in rows], labels, names)


def _rows(path: Path, prefix: str) -> list[tuple[str, str, int]]:
    """Path below the split, label and line of each row of the split."""
    found: list[tuple[str, str, int]] = []
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            next(reader)
            for row in reader:
                place = f"{shown(path)}:{reader.line_num}"
                if not row:
                    continue
                if len(row) != 2 or not all(cell.strip() for cell in row):
                    raise BadInput(f"{place}: expected two columns, path and label")
                name, label = (cell.strip() for cell in row)
                pure = PurePosixPath(name)
                if pure.is_absolute() or ".." in pure.parts:
                    raise BadInput(f"{place}: '{plain(name, 100)}' is no path below {shown(path.parent)}")
                if not str(pure).startswith(prefix):
                    continue
                if name in seen:
                    raise BadInput(f"{place}: '{plain(name, 100)}' is named twice")
                seen.add(name)
                found.append((str(pure).removeprefix(prefix), label, reader.line_num))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{shown(path)}: cannot be read ({plain(str(error), 200)})") from None
    return found


def _class_names(
    path: Path, labels: list[str], classes: Sequence[str] | None, index: tuple[str, ...] | None
) -> tuple[str, ...]:
    if classes is not None:
        return tuple(classes)
    if index is not None:
        return index
    different = set(labels)
    if all(label.isascii() and label.isdigit() and str(int(label)) == label for label in different):
        highest = max(map(int, different))
        if highest >= _MOST_CLASSES:
            raise BadInput(f"{shown(path)}: class {highest:,} is larger than {_MOST_CLASSES - 1:,}")
        return tuple(map(str, range(highest + 1)))
    return tuple(sorted(different))


def class_index(data_dir: str) -> tuple[str, ...] | None:
    """Class names in the order of ``class_to_idx.json`` in `data_dir`; None without that file. Raises BadInput."""
    path = files.expand_user(data_dir) / CLASS_INDEX
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{shown(path)}: cannot be read ({plain(str(error), 200)})") from None
    if not isinstance(found, dict) or not all(type(number) is int for number in found.values()) or not found:
        raise BadInput(f'{shown(path)}: expected class names and numbers: {{"cat": 0, "dog": 1}}')
    if sorted(found.values()) != list(range(len(found))):
        raise BadInput(f"{shown(path)}: the numbers must be 0 to {len(found) - 1}, each once")
    return tuple(sorted(found, key=lambda name: found[name]))


def indexed_classes(data_dir: str, folders: Sequence[str]) -> tuple[str, ...] | None:
    """The same for class folders. Raises BadInput for a folder that the file does not have."""
    index = class_index(data_dir)
    if index is not None:
        for name in folders:
            if name not in index:
                raise BadInput(
                    f"{shown(files.expand_user(data_dir) / CLASS_INDEX)} does not have the class folder "
                    f"'{plain(name, 100)}'{did_you_mean(name, index)}"
                )
    return index


def class_count(data_dir: str, split: str, setting: str) -> int | None:
    """Classes by one of the files; None if there is none. Raises BadInput."""
    listed = labelled_files(data_dir, split, setting)
    if listed is not None:
        return len(listed.classes)
    index = class_index(data_dir)
    return None if index is None else len(index)
