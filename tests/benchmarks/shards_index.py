"""Figures of the index of shards: its size, and what opening one of 10 million images takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
from loader_peers import Setting
from numpy.lib import format as npy

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.shard_formats.shard_scan import COLUMNS
from gputrain.engine.datasets.shards import shard_index, shard_split

_ENTRIES = 10_000_000
_OPEN = """
import sys, time
from pathlib import Path
from gputrain.engine.datasets.shards.sharded_images import ShardedImages
def private():
    with open("/proc/self/smaps_rollup") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
before, began = private(), time.perf_counter()
images = ShardedImages(Path(sys.argv[1]), sys.argv[2])
seconds = time.perf_counter() - began
for index in range(0, len(images), 9973):
    images.labels[index], images.offsets[index], images.shard_of(index)
print(seconds, private() - before)
"""


def index_figures(setting: Setting) -> dict[str, float]:
    """Bytes of an entry on the disk, seconds to open 10 million, and a worker's own memory for them."""
    os.environ["GPUTRAIN_CACHE"] = str(setting.scratch / "cache")
    config = settings.build({"data_dir": str(setting.scratch / "tar"), "dataset": "webdataset"})
    began = time.perf_counter()
    shards = shard_split.shard_set(config.data, "train", "train_split")
    folder = shard_index.ensure_index(shards)
    seconds, images = time.perf_counter() - began, len(np.load(folder / "labels.npy", mmap_mode="r"))
    large = setting.scratch / "large-index"
    large.mkdir(exist_ok=True)
    (large / shard_index.FACTS).write_bytes((folder / shard_index.FACTS).read_bytes())
    size = 0
    for name, kind in COLUMNS.items():
        with (large / f"{name}.npy").open("wb") as file:
            npy.write_array_header_1_0(
                file, {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (_ENTRIES,)}
            )
            file.truncate(file.tell() + _ENTRIES * np.dtype(kind).itemsize)
            size += np.dtype(kind).itemsize
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ran = subprocess.run(
        [sys.executable, "-c", _OPEN, large, shards.root], env=environment, capture_output=True, text=True, check=True
    )
    opened, private = ran.stdout.split()
    return {
        "bytes_per_image": size,
        "seconds_to_open_10_million": float(opened),
        "private_bytes_of_a_worker": float(private),
        "seconds_to_build": seconds,
        "images_built": images,
    }
