"""What a scan of image folders leaves out or reads twice: numbers by kind, an example of each, and what to warn of."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets import image_files

_KINDS_NAMED = 6
_FOLDERS_NAMED = 3
_KINDS_PER_TEXT = 20
_MOST_KINDS = 1000
"""Further suffixes are counted together: a record is no list of files."""
_OPENED_PER_KIND = 3
"""Files of each kind whose first bytes are read."""


class Skipped(Struct, frozen=True):
    """The result of a scan."""

    counts: tuple[tuple[str, int], ...] = ()
    """Kinds of skipped files and folders with their numbers, the largest first."""
    examples: tuple[tuple[str, str], ...] = ()
    """Kinds, and the path of one of each, relative to the data folder."""
    with_images: frozenset[str] = frozenset()
    """Kinds of which some files begin as images do, such as ``.1`` of ``photo.jpg.1``."""
    doubled: tuple[str, ...] = ()
    """Folders that are read a second time, through a link, for another class or split."""
    only_class: str = ""
    """The class folder, if the training images have just one class (``train/cat``)."""

    def texts(self) -> Iterator[str]:
        """All kinds as text, each with an example; several texts if there are many kinds."""
        known = dict(self.examples)
        parts = [
            f"{count} {plain(kind, 40)}" + (f" ({plain(known[kind], 120)})" if kind in known else "")
            for kind, count in self.counts
        ]
        for start in range(0, len(parts), _KINDS_PER_TEXT):
            yield ", ".join(parts[start : start + _KINDS_PER_TEXT])

    def warnings(self) -> tuple[str, ...]:
        """What is probably not meant, with the remedy."""
        unreadable = [(kind, count) for kind, count in self.counts if kind in image_files.UNREADABLE]
        misnamed = [(kind, count) for kind, count in self.counts if kind in self.with_images]
        found = []
        if self.only_class:
            found.append(
                f"{plain(self.only_class, 120)} is the only class folder: there is nothing to distinguish; expected "
                "one folder for each class (train/cat, train/dog)"
            )
        if unreadable:
            found.append(
                f"not read: {skipped_text(unreadable)} files, which Pillow cannot open; "
                "convert them to PNG, TIFF or JPEG"
            )
        if misnamed:
            example = next((path for kind, path in self.examples if kind == misnamed[0][0]), "")
            found.append(
                f"not read: {skipped_text(misnamed)} files, although they begin as images do ({plain(example, 120)}); "
                "give those that are wanted the suffix of their format (.jpg, .png …)"
            )
        if self.doubled:
            more = len(self.doubled) - _FOLDERS_NAMED
            found.append(
                "; ".join(self.doubled[:_FOLDERS_NAMED]) + (f"; and {more} more such folders" if more > 0 else "")
            )
        return tuple(found)

    def merged(self, other: Skipped) -> Skipped:
        """Both together."""
        counts = dict(self.counts)
        for kind, count in other.counts:
            counts[kind] = counts.get(kind, 0) + count
        return Skipped(
            _sorted(counts),
            tuple({**dict(other.examples), **dict(self.examples)}.items()),
            self.with_images | other.with_images,
            self.doubled + other.doubled,
            self.only_class or other.only_class,
        )


NOTHING_SKIPPED = Skipped()


class FoldersRead:
    """The folders that the scans of a data set have read; names those that two classes or splits share."""

    def __init__(self) -> None:
        self._first: dict[image_files.Identity, tuple[str, str]] = {}

    def add(self, identity: image_files.Identity, path: str, owner: str) -> str:
        """Note a folder that is read for `owner` (``train/cat``). Returns a warning if another owner has it, too."""
        first_owner, first_path = self._first.setdefault(identity, (owner, path))
        if first_owner == owner:
            return ""
        one, two = sorted((plain(first_path, 120), plain(path, 120)))
        splits = {first_owner.partition("/")[0], owner.partition("/")[0]}
        whose = "both classes have its images" if len(splits) == 1 else "validation would use images of the training"
        return f"{one} and {two} are the same folder (a link), so that {whose}; remove one of them"


class SkippedFiles:
    """Counts files and folders that are skipped, by kind."""

    def __init__(self, root: str | Path = "", folders: FoldersRead | None = None) -> None:
        """Paths are shown relative to `root`; `folders` are those that other scans of the data set have read."""
        self._root = os.path.join(root, "") if root else ""  # noqa: PTH118
        self._folders = FoldersRead() if folders is None else folders
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._with_images: set[str] = set()
        self._doubled: dict[str, str] = {}
        self._only_class = ""

    def add(self, kind: str, path: str = "") -> None:
        """Count one of a kind."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if path:
            self._examples.setdefault(kind, self._shown(path))

    def add_file(self, path: str) -> None:
        """Count a file that is no image by its name; of the first ones of each kind the first bytes are read."""
        kind = image_files.kind_of_file(os.path.basename(path))  # noqa: PTH119
        if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
            kind = "of other kinds"
        looked_at = self._counts.get(kind, 0) < _OPENED_PER_KIND and kind not in image_files.UNREADABLE
        if looked_at and kind not in self._with_images and image_files.begins_as_image(path):
            self._with_images.add(kind)
            self._examples[kind] = self._shown(path)
        self.add(kind, path)

    def read(self, identity: image_files.Identity, path: str, owner: str) -> None:
        """Note that a folder is read for `owner`, a class of a split (``train/cat``)."""
        shown = self._shown(path)
        warning = self._folders.add(identity, shown, owner)
        # Of a doubled folder the sub-folders are doubled as well.
        if warning and os.path.dirname(shown) not in self._doubled:  # noqa: PTH120
            self._doubled[shown] = warning
        elif warning:
            self._doubled[shown] = ""

    def note_classes(self, split: str, names: Collection[str]) -> None:
        """Note the class folders of the training split."""
        self._only_class = f"{split}/{next(iter(names))}" if len(names) == 1 else ""

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Kinds and numbers, the largest first."""
        return _sorted(self._counts)

    def result(self) -> Skipped:
        """Everything so far."""
        return Skipped(
            self.counts(),
            tuple(self._examples.items()),
            frozenset(self._with_images),
            tuple(text for text in self._doubled.values() if text),
            self._only_class,
        )

    def _shown(self, path: str) -> str:
        return path.removeprefix(self._root)


def _sorted(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def skipped_text(counts: Iterable[tuple[str, int]]) -> str:
    """``12 .txt, 3 .heic, 1 @eaDir folder``: the commonest kinds as text; empty if there are none."""
    parts = [f"{count} {plain(kind, 40)}" for kind, count in counts]
    return ", ".join(parts[:_KINDS_NAMED]) + (
        f" and {len(parts) - _KINDS_NAMED} more kinds, which check and the record list"
        if len(parts) > _KINDS_NAMED
        else ""
    )
