"""What reading one image of a compressed Parquet file costs: the page that it lies in, measured on one."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from gputrain.engine.common import units
from gputrain.engine.datasets.shard_formats import parquet_pages, parquet_rows
from gputrain.engine.datasets.shard_formats.parquet_pages import PageCache

_FEW = 4
"""Images of a page up to which decoding an image takes longer than its page."""


class PageCost(NamedTuple):
    """A page of images."""

    codec: str
    images: int
    size: int
    """Bytes unpacked."""
    seconds: float
    """CPU time to read and unpack it."""


def warning(codec: str, images: float, cost: PageCost | None) -> str:
    """The warning for pages of `images` images, which `cost` measured; empty where a page has few."""
    if images < _FEW:
        return ""
    here = (
        ""
        if cost is None
        else f" ({units.size(cost.size)}, {cost.seconds * 1000:.0f} ms of CPU an image here, in any order)"
    )
    packed = f"the images are compressed with {codec} in pages of {images:.0f} images"
    remedy = "write them uncompressed with gputrain-tui pack --format parquet, or set cache=disk"
    return f"{packed}, and a page is read for each image{here}: {remedy}"


def page_cost(path: str, image_key: str) -> PageCost | None:
    """The cost of an image of the file; None if it is not compressed, or damaged. Raises BadInput, OSError."""
    place = parquet_rows.fullest_page(path, image_key)
    if place is None:
        return None
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = parquet_pages.read_header(lambda at, length: os.pread(handle, length, at), place.page[1])
        seconds = []
        for _ in range(2):  # the first time pyarrow loads its decompressor
            began = time.thread_time()
            PageCache().value(handle, place)
            seconds.append(time.thread_time() - began)
        return PageCost(place.codec, header.values, header.unpacked, min(seconds))
    except (ValueError, LookupError):
        return None
    finally:
        os.close(handle)
