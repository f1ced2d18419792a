"""The samples of a WebDataset shard: files of one key, of which one is the image and one has the label."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.shard_formats.shard_scan import ShardScan
from gputrain.engine.datasets.shard_formats.tar_members import BLOCK, TarDamage, TarFile, TarMember

AUTO = "auto"
_KEY = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")
_LABEL_KEYS = ("cls", "json")
"""Files that `label_key: auto` looks for, in this order."""
_JSON_FIELDS = ("label", "cls", "class")
"""Fields that it looks for in a json file."""
_LARGEST_LABEL = 1 << 24
_LONGEST_NAME = 200
"""Characters of a class name."""
_LARGEST_TEXT = 1 << 20
"""Bytes that are read of a file with the label."""
_IMAGES = frozenset(suffix.removeprefix(".") for suffix in image_files.EXTENSIONS)
_POLL_EVERY = 512
"""Members between two calls of `on_member`."""


def split_name(name: str) -> tuple[str, str] | None:
    """Key and suffix of a file by WebDataset's rule: the suffix begins at the first dot of the file's name.

    None for files that belong to no sample: without a key or a suffix, or WebDataset's own (``__meta__``).
    """
    if _META.match(name):
        return None
    found = _KEY.fullmatch(name)
    return None if found is None else (found[1], found[2].lower())


@dataclass(slots=True)
class _Sample:
    key: str
    files: dict[str, TarMember] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    """Contents of the files that may have the label."""
    doubtful: bool = False
    """Whether it stands beside damage, where files may be missing."""


class SampleScan:
    """Scans one shard. `path` is for messages."""

    def __init__(self, path: str, tar: TarFile, image_key: str, label_key: str) -> None:
        self._path, self._tar = path, tar
        self._images = [] if image_key == AUTO else [key.strip().lower() for key in image_key.split(";")]
        self._labels = _LABEL_KEYS if label_key == AUTO else (label_key,)
        self._texts = {key.lower() for key in self._labels} | {"json"}
        self._scan = ShardScan()

    def run(self, on_member: Callable[[int], None], limit: int | None = None) -> ShardScan:
        """The images, or the first `limit`. `on_member` is called now and then with their number. Raises BadInput."""
        if packed := self._tar.compression():
            raise BadInput(f"{shown(self._path)} is compressed with {packed}; unpack it to a plain .tar")
        current: _Sample | None = None
        broken = False
        for count, found in enumerate(self._tar.members()):
            if count % _POLL_EVERY == 0:
                on_member(len(self._scan.offsets))
            if isinstance(found, TarDamage):
                self._scan.damage.append(f"{plain(found.why, 200)} (at byte {found.offset:,})")
                if current is not None:
                    current.doubtful = True
                broken = True
                continue
            split = split_name(found.name)
            if split is None:
                self._skip("file without a key")
                continue
            key, suffix = split
            if current is None or key != current.key:
                self._finish(current)
                if limit is not None and len(self._scan.offsets) >= limit:
                    return self._scan
                current = _Sample(key, doubtful=broken)
                broken = False
            if suffix in current.files:
                two = f"has two files .{plain(suffix, 60)}; WebDataset refuses it too"
                raise BadInput(f"{shown(self._path)}: the sample '{plain(key, 100)}' {two}")
            current.files[suffix] = found
            if suffix in self._texts:
                # Now, while it is in the window of the last read.
                current.texts[suffix] = self._tar.read(found.offset, min(found.size, _LARGEST_TEXT))
        self._finish(current)
        return self._scan

    def _skip(self, kind: str) -> None:
        self._scan.skipped[kind] = self._scan.skipped.get(kind, 0) + 1

    def _finish(self, sample: _Sample | None) -> None:
        if sample is None:
            return
        image = self._image(sample)
        if image is None:
            if not sample.doubtful:
                self._skip("sample without an image")
            return
        try:
            label = self._label_of(sample)
        except BadInput:
            if sample.doubtful:
                return
            raise
        self._scan.add(image.offset, image.size, label, (image.offset - image.start) // BLOCK)

    def _image(self, sample: _Sample) -> TarMember | None:
        if self._images:
            return next((sample.files[key] for key in self._images if key in sample.files), None)
        found = [key for key in sample.files if key.rpartition(".")[2] in _IMAGES]
        if len(found) > 1:
            raise BadInput(
                f"{shown(self._path)}: the sample '{plain(sample.key, 100)}' has {len(found)} images "
                f"({', '.join(plain(key, 40) for key in found[:6])}); choose one: image_key={plain(found[0], 40)}"
            )
        return sample.files[found[0]] if found else None

    def _label_of(self, sample: _Sample) -> int | str:
        for key in self._labels:
            if key.lower() in sample.texts and key != "json":
                return self._from_text(sample, key.lower())
            file, _, fields = key.partition(".")
            if file.lower() == "json" and "json" in sample.texts:
                return self._from_json(sample, fields)
        has = ", ".join(plain(key, 40) for key in list(sample.files)[:8])
        wanted = " or ".join(plain(key, 60) for key in self._labels)
        raise self._fault(sample, f"has no {wanted} (it has {has})")

    def _fault(self, sample: _Sample, what: str) -> BadInput:
        return BadInput(
            f"{shown(self._path)}: the sample '{plain(sample.key, 100)}' {what}; "
            "label_key names the file, or the field of a json file, that has the class: label_key=json.label"
        )

    def _from_text(self, sample: _Sample, key: str) -> int | str:
        text = sample.texts[key].decode("utf-8", "replace").strip()
        if text.isascii() and text.isdigit():
            return self._number(sample, int(text))
        if not text or len(text) > _LONGEST_NAME or "\n" in text:
            raise self._fault(sample, f"has no class number or name in its .{plain(key, 60)}")
        return self._number(sample, -1) if text.lstrip("-").isdigit() else text

    def _from_json(self, sample: _Sample, fields: str) -> int | str:
        try:
            found: Any = json.loads(sample.texts["json"])
        except ValueError:
            raise self._fault(sample, "has a json file that cannot be read") from None
        names = [fields.split(".")] if fields else [[name] for name in _JSON_FIELDS]
        for path in names:
            value = found
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, int) and not isinstance(value, bool):
                return self._number(sample, value)
            if isinstance(value, str) and value:
                if len(value) > _LONGEST_NAME:  # its beginning alone may be that of another class
                    raise self._fault(sample, f"has a text of {len(value):,} characters as the class in its json file")
                return value
        wanted = plain(fields, 60) if fields else " or ".join(_JSON_FIELDS)
        raise self._fault(sample, f"has no class number or name in the field {wanted} of its json file")

    def _number(self, sample: _Sample, number: int) -> int:
        if not 0 <= number < _LARGEST_LABEL:
            raise self._fault(sample, f"has a class number that is not from 0 to {_LARGEST_LABEL - 1:,}")
        return number


def scan_tar(
    path: str, image_key: str, label_key: str, on_member: Callable[[int], None], limit: int | None = None
) -> ShardScan:
    """The images of a tar shard, or the first `limit`. Raises BadInput, OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return SampleScan(path, TarFile(handle), image_key, label_key).run(on_member, limit)
    finally:
        os.close(handle)
