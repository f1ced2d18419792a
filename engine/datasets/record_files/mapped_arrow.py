"""MappedArrow: where the values of record batches lie in their file, found without a copy of them. Needs pyarrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.record_files.found_images import LONGEST

Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Offset in the file and length in bytes of each value; 0 and 0 without one."""


class MappedArrow:
    """A file in memory: where values of its record batches are in it."""

    def __init__(self, path: str, source: Any, compressed: str) -> None:
        """`compressed`: what is said of compressed record batches, with the remedy."""
        self.path, self._compressed = path, compressed
        self._size: int = source.size()
        self._address: int = source.read_buffer(1).address
        source.seek(0)

    def images(self, column: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the images in a column of bytes, or of structs of bytes and path; and 1 where it is a path's.

        Raises ValueError for damage, BadInput for compressed record batches.
        """
        import pyarrow as pa

        if not pa.types.is_struct(column.type):
            offsets, lengths = self.places(column)
            return offsets, lengths, np.zeros_like(offsets)
        offsets, lengths = self.places(column.field("bytes"))
        are_paths = np.zeros_like(offsets)
        names = [column.type.field(place).name for place in range(column.type.num_fields)]
        if "path" in names and not lengths.all():
            at, sizes = self.places(column.field("path"))
            are_paths = ((lengths == 0) & (sizes > 0)).astype(np.int64)
            offsets, lengths = np.where(are_paths, at, offsets), np.where(are_paths, sizes, lengths)
        present = column.is_valid().to_numpy(zero_copy_only=False)
        return tuple(np.where(present, values, 0) for values in (offsets, lengths, are_paths))  # type: ignore[return-value]

    def places(self, array: Any) -> Places:
        """Places of the values in a column of bytes or texts. Raises ValueError for damage, BadInput if compressed."""
        import pyarrow as pa

        large = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
        if not (large or pa.types.is_binary(array.type) or pa.types.is_string(array.type)):
            raise ValueError(f"images of the type {array.type}")
        _, ends, content = array.buffers()
        bounds = np.zeros(len(array) + 1, dtype=np.int64)
        if ends is not None and len(array):
            kind = np.int64 if large else np.int32
            bounds = np.frombuffer(ends, kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
        lengths = np.diff(bounds)
        if not lengths.any():
            return np.zeros_like(lengths), lengths
        start = content.address - self._address
        if not 0 <= start <= self._size - content.size:
            raise BadInput(f"{shown(self.path)}: {self._compressed}")
        if (lengths < 0).any() or (lengths > LONGEST).any() or bounds[0] < 0 or bounds[-1] > content.size:
            raise ValueError("values outside of their record batch")
        present = array.is_valid().to_numpy(zero_copy_only=False) & (lengths > 0)
        return np.where(present, bounds[:-1] + start, 0), np.where(present, lengths, 0)
