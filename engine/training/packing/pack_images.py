"""Packs the images of a split into shards, in an order that depends on the images alone, and continues after a kill."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.dataloading import batch_sampler
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets import image_files
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.shards import packed_index
from gputrain.engine.datasets.shards.shard_patterns import SUFFIXES
from gputrain.engine.imaging import jpeg_header
from gputrain.engine.jobs.pack_shards import PackOrder
from gputrain.engine.training.packing.shard_writers import PackedImage, ParquetWriter, ShardWriter, TarWriter, verify
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import BadImage
from gputrain.engine.training.workers import worker_pool
from gputrain.engine.training.workers.fill_batch import read_image

STATE = ".pack-{}.json"
"""File in the folder of shards that says which are complete."""
_CHUNK = 32
"""Images that threads prepare ahead."""


@dataclass(slots=True)
class PackedSplit:
    """Result for one split, and its state on the disk."""

    key: str
    """A hash of the images and options: other ones cannot be continued."""
    position: int = 0
    """Images of the order that are done."""
    shards: list[str] = field(default_factory=list)
    images: int = 0
    bad: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Save the state. Raises OSError."""
        values = {name: getattr(self, name) for name in ("key", "position", "shards", "images", "bad")}
        files.write_atomic(path, json.dumps(values).encode(), files.READABLE)


class SplitPacker:
    """Packs one split."""

    def __init__(self, images: ImageSet, order: PackOrder, split: str, max_bad: int) -> None:
        self._images, self._order, self._split, self._max_bad = images, order, split, max_bad
        self._to = Path(order.to)
        self.encoded = 0
        self.kept = 0
        self._indices: npt.NDArray[np.int64] = (
            np.arange(len(images), dtype=np.int64)
            if order.keep_order or split != "train"
            else batch_sampler.permutation(0, 0, len(images))
        )

    def run(self, progress: Callable[[int, int], None]) -> PackedSplit:
        """Write all shards that are missing. `progress` gets the images done and their number. Raises BadInput."""
        path = self._to / STATE.format(self._split)
        try:
            state = self._state(path)
        except OSError as error:
            raise self._unwritable(error) from None
        self.kept = len(state.shards)
        total = len(self._images)
        with (
            worker_pool.single_threaded(),
            ThreadPoolExecutor(max(1, self._order.config.data.num_workers), thread_name_prefix="pack") as pool,
        ):
            try:
                prepared = self._prepared(state.position, pool)
                while state.position < total:
                    self._write_shard(state, prepared, lambda done: progress(done, total))
                    state.write(path)
            except OSError as error:
                raise self._unwritable(error) from None
        return state

    def _unwritable(self, error: OSError) -> BadInput:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BadInput(f"the disk of {shown(self._to)} is full; free some space and pack again")
        return BadInput(f"{shown(self._to)}: cannot be written: {error.strerror or error}")

    def _key(self) -> str:
        order = self._order
        options = [order.format, order.shard_bytes, order.short_side, order.quality, order.keep_order]
        key = hashlib.sha256(json.dumps(options).encode())
        shards = self._images.shards
        key.update(shards.key.encode() if shards is not None else self._images.names)
        key.update(np.ascontiguousarray(self._images.labels).tobytes())
        return key.hexdigest()

    def _state(self, path: Path) -> PackedSplit:
        key = self._key()
        try:
            state = PackedSplit(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            suffix = SUFFIXES[self._order.format]
            if next(iter(self._to.glob(f"{self._split}-*{suffix}")), None) is not None:
                raise BadInput(
                    f"--to: {shown(self._to)} already has shards of '{self._split}'; name an empty folder"
                ) from None
            state = PackedSplit(key)
            state.write(path)
            return state
        except (OSError, ValueError, TypeError) as error:
            raise BadInput(f"{shown(path)}: cannot be read ({error}); remove the shards and pack again") from None
        if state.key != key:
            raise BadInput(f"--to: {shown(self._to)} has shards of other images or options; name an empty folder")
        missing = next((name for name in state.shards if not (self._to / name).is_file()), None)
        if missing is not None:
            raise BadInput(f"--to: {shown(self._to / missing)} is missing; name an empty folder")
        return state

    def _write_shard(
        self, state: PackedSplit, prepared: Iterator[PackedImage | BadImage], on_done: Callable[[int], None]
    ) -> None:
        name = f"{self._split}-{len(state.shards):06d}{SUFFIXES[self._order.format]}"
        temporary = self._to / f".{name}.part"
        writer = self._writer(temporary, state.images)
        written: list[tuple[int, int]] = []
        size, position = 0, state.position
        bad: list[str] = []
        try:
            for image in prepared:
                position += 1
                if isinstance(image, BadImage):
                    bad.append(str(image))
                    self._check_bad(len(state.bad) + len(bad), str(image))
                    continue
                writer.add(image)
                written.append((zlib.crc32(image.content), image.label))
                size += len(image.content)
                if len(written) % _CHUNK == 0:
                    on_done(position)
                if size >= self._order.shard_bytes:
                    break
        finally:
            writer.close()
        if written:
            packed_index.write(temporary, name, verify(temporary, self._order.format, written))
            temporary.replace(self._to / name)
            state.shards.append(name)
        else:
            temporary.unlink()
        state.position, state.images = position, state.images + len(written)
        state.bad += bad
        on_done(position)

    def _check_bad(self, count: int, last: str) -> None:
        if count > self._max_bad:
            raise BadInput(f"{count} images cannot be read, more than max_bad_images ({self._max_bad}): {last}")

    def _writer(self, path: Path, first: int) -> ShardWriter:
        if self._order.format == "parquet":
            return ParquetWriter(path, self._images.classes)
        return TarWriter(path, first)

    def _prepared(self, position: int, pool: ThreadPoolExecutor) -> Iterator[PackedImage | BadImage]:
        """The images from there on, prepared by the threads, in order."""
        for start in range(position, len(self._indices), _CHUNK):
            yield from pool.map(self._prepare, self._indices[start : start + _CHUNK].tolist())

    def _prepare(self, index: int) -> PackedImage | BadImage:
        meter = BatchAccounting()
        try:
            name = self._images.name(index)
            data = read_image(self._images, index, meter)
            suffix = _suffix(name, data)
            if not data or not suffix:
                raise BadImage(self._images.path(index), "not an image of a known format")
            if self._order.short_side:
                smaller = self._smaller(data, self._images.place(index))
                if smaller is not None:
                    self.encoded += 1
                    data, suffix = smaller, "jpg"
            return PackedImage(data, suffix, int(self._images.labels[index]), name)
        except BadImage as error:
            return error
        finally:
            meter.close()

    def _smaller(self, data: bytes, path: str) -> bytes | None:
        """The image as a JPEG with the wanted short side; None if it is not larger."""
        header = jpeg_header.read_header(data)
        if header is not None and min(header.width, header.height) <= self._order.short_side:
            return None
        pixels = decode.decode_reduced(data, path, self._order.short_side, self._images.decoding)
        if header is None and min(pixels.shape[:2]) < self._order.short_side:
            return None
        encoded: bytes = simplejpeg.encode_jpeg(pixels, self._order.quality, colorspace="RGB", colorsubsampling="420")
        return encoded


def _suffix(name: str, data: bytes) -> str:
    """The format of an image, by its name or its content; empty if it is unknown."""
    suffix = Path(name).suffix.lower()
    if suffix in image_files.EXTENSIONS:
        return suffix.removeprefix(".")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return {"jpeg": "jpg", "jpeg2000": "jp2"}.get(found := (image.format or "").lower(), found)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
