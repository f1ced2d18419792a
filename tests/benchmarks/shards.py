"""Images per second from shards, beside folders and other readers: ``python tests/benchmarks/shards.py [--json]``.

The same photograph-like JPEGs as files, tar shards and Parquet shards; random resized crops of 224², batches of 64.
Ratios are of images per CPU-second in the same run, contenders alternating. Peers that are not installed are named with
the reason. The memory and the opening time of an index of 10 million images are measured, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import harness
import numpy as np
import photos
import torch
from harness import Contender, Pass, Result
from loader_peers import Setting
from numpy.lib import format as npy

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.datasets.shards import shard_index, shard_split
from gputrain.engine.datasets.shards.shard_scan import COLUMNS
from gputrain.engine.jobs.pack_shards import PackOrder
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.packing.pack_images import SplitPacker
from gputrain.engine.training.readers.shards import image_set_of

PACKAGES = ("gputrain-tui", "torch", "torchvision", "pillow", "simplejpeg", "webdataset", "datasets", "pyarrow")
RATIOS = {
    "tar_vs_folder": ("tar", "folder"),
    "parquet_vs_folder": ("parquet", "folder"),
    "snappy_vs_folder": ("snappy", "folder"),
    "tar_windows_vs_folder": ("tar_windows", "folder"),
    "tar_vs_webdataset": ("tar", "webdataset"),
    "parquet_vs_hf_datasets": ("parquet", "hf_datasets"),
    "arrow_vs_folder": ("arrow", "folder"),
    "arrow_vs_hf_datasets": ("arrow", "hf_datasets"),
}
_ENTRIES = 10_000_000


def _config(setting: Setting, **values: Any) -> Any:
    common = {
        "num_workers": setting.workers,
        "batch_size": setting.batch_size,
        "image_size": setting.size,
        "loader": "threads",
        "epochs": 1,
    }
    return settings.build(common | values)


def _epochs(setting: Setting, images: ImageSet, **values: Any) -> Pass:
    source = make_loader(images, _config(setting, **values), train=True, pin=False)
    epochs = iter(range(1_000_000))
    return lambda: sum(len(batch.images) for batch in source.epoch(next(epochs)))


def _sharded(setting: Setting, form: str, name: str) -> ImageSet:
    os.environ["GPUTRAIN_CACHE"] = str(setting.scratch / "cache")
    config = _config(setting, data_dir=str(setting.scratch / name), dataset=form)
    return image_set_of(shard_split.open_split(config.data, "train"))


def folder(setting: Setting) -> Pass:
    """One file for each image."""
    return _epochs(setting, scan(str(setting.data), "train"))


def tar(setting: Setting) -> Pass:
    """Tar shards, random access."""
    return _epochs(setting, _sharded(setting, "webdataset", "tar"))


def tar_windows(setting: Setting) -> Pass:
    """Tar shards, shuffled by windows."""
    return _epochs(setting, _sharded(setting, "webdataset", "tar"), shuffle="shards", shuffle_window=4)


def parquet(setting: Setting) -> Pass:
    """Parquet without compression: images by offset."""
    return _epochs(setting, _sharded(setting, "parquet", "parquet"))


def snappy(setting: Setting) -> Pass:
    """Parquet compressed with snappy, as `datasets` writes it: a page is read for each image."""
    return _epochs(setting, _sharded(setting, "parquet", "snappy"))


def arrow(setting: Setting) -> Pass:
    """Arrow files as `datasets` prepares them: images by offset."""
    return _epochs(setting, _sharded(setting, "hf", "arrow"))


def _drain(loader: Any) -> int:
    return sum(len(labels) for _, labels in loader)


def _crops(setting: Setting) -> Any:
    from torchvision import transforms

    return transforms.Compose([transforms.RandomResizedCrop(setting.size, antialias=True), transforms.PILToTensor()])


def webdataset(setting: Setting) -> Pass:
    """webdataset with Pillow, as its documentation shows: shuffled shards and a buffer of 500."""
    package = import_module("webdataset")
    shards = sorted(str(path) for path in (setting.scratch / "tar").glob("train-*.tar"))
    data = package.WebDataset(shards, shardshuffle=len(shards)).shuffle(500).decode("pil").to_tuple("jpg", "cls")
    data = data.map_tuple(_crops(setting), int).batched(setting.batch_size)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=setting.workers, persistent_workers=True)
    return lambda: _drain(loader)


@dataclass(frozen=True, slots=True)
class _Cropped:
    """The transform of a data set of `datasets`."""

    crop: Any

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        return {"pixels": [self.crop(image.convert("RGB")) for image in rows["image"]], "label": rows["label"]}


def _collate(rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([row["pixels"] for row in rows]), torch.tensor([row["label"] for row in rows])


def hf_datasets(setting: Setting) -> Pass:
    """datasets with Pillow, random access through its memory-mapped Arrow copy of the Parquet files."""
    package = import_module("datasets")
    files = [str(path) for path in (setting.scratch / "snappy").glob("train-*.parquet")]
    data = package.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(setting.scratch / "hf"), keep_in_memory=False
    )
    data.set_transform(_Cropped(_crops(setting)))
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=setting.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=True,
        collate_fn=_collate,
    )
    return lambda: _drain(loader)


CONTENDERS = (
    Contender("folder", "gputrain, files", "antialiased", folder),
    Contender("tar", "gputrain, tar shards", "antialiased", tar),
    Contender("tar_windows", "gputrain, tar shards, shuffle=shards", "antialiased", tar_windows),
    Contender("parquet", "gputrain, Parquet", "antialiased", parquet),
    Contender("snappy", "gputrain, Parquet with snappy", "antialiased", snappy),
    Contender("arrow", "gputrain, Arrow files of datasets", "antialiased", arrow),
    Contender("webdataset", "webdataset, Pillow", "antialiased", webdataset),
    Contender("hf_datasets", "Hugging Face datasets, Pillow", "antialiased", hf_datasets),
)


def prepare(setting: Setting, shard_bytes: int) -> str:
    """Write the images as shards; returns the reason if there can be no Parquet files."""
    images = scan(str(setting.data), "train")
    reason = ""
    for name, form in (("tar", "webdataset"), ("parquet", "parquet")):
        to = setting.scratch / name
        to.mkdir(parents=True, exist_ok=True)
        order = PackOrder(config=_config(setting), to=str(to), format=form, shard_bytes=shard_bytes)  # type: ignore[arg-type]
        try:
            SplitPacker(images, order, "train", 0).run(lambda done, total: None)
        except Exception as error:  # noqa: BLE001 - without pyarrow the tar shards are still measured
            reason = str(error)
    if not reason:
        compressed = setting.scratch / "snappy"
        compressed.mkdir(exist_ok=True)
        pq = import_module("pyarrow.parquet")
        for path in (setting.scratch / "parquet").glob("*.parquet"):
            pq.write_table(pq.read_table(path), compressed / path.name, compression="snappy", row_group_size=100)
        _write_arrow(sorted(compressed.glob("train-*.parquet")), setting.scratch / "arrow")
    return reason


def _write_arrow(parquets: list[Path], to: Path) -> None:
    """The same rows as Arrow streams, in the layout of the cache of `datasets`."""
    pa, pq = import_module("pyarrow"), import_module("pyarrow.parquet")
    to.mkdir(exist_ok=True)
    for number, path in enumerate(parquets):
        table = pq.read_table(path)
        with pa.ipc.new_stream(to / f"photos-train-{number:05d}-of-{len(parquets):05d}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    (to / "dataset_info.json").write_text('{"splits": {"train": {}}}')


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
    config = _config(setting, data_dir=str(setting.scratch / "tar"), dataset="webdataset")
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


def _table(results: dict[str, Result]) -> str:
    lines = [f"{'':40} {'img/s':>8} {'per CPU-s':>10}"]
    for result in results.values():
        wall, cpu = result.per_second, result.per_cpu_second
        figures = result.reason if wall is None or cpu is None else f"{wall:8,.0f} {cpu:10,.0f}"
        lines.append(f"{result.contender.name:40} {figures}")
    return "\n".join(lines)


def main() -> None:
    """Run all contenders and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shard-mib", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="keep the drawn images and the shards here")
    parser.add_argument("--only", nargs="*", default=[], help="keys of the contenders to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        home = options.folder or Path(temporary)
        data = photos.draw(home / "photos", options.images)
        setting = Setting(data, home / "scratch", options.workers, batch_size=64, size=224)
        reason = prepare(setting, options.shard_mib << 20)
        chosen = [c for c in CONTENDERS if not options.only or c.key in options.only]
        results = {result.contender.key: result for result in harness.compare(chosen, setting, options.rounds)}
        index = index_figures(setting)
    pairs = {name: harness.ratio(results, *keys) for name, keys in RATIOS.items()}
    if options.json:
        figures: dict[str, Any] = {
            key: {
                "images_per_second": result.per_second,
                "images_per_cpu_second": result.per_cpu_second,
                "reason": result.reason or (reason if key in ("parquet", "snappy", "arrow") else ""),
            }
            for key, result in results.items()
        }
        figures["index"] = index
        extra = {
            "reasons": {name: why for name, (_, why) in pairs.items() if why},
            "versions": harness.versions(PACKAGES),
        }
        print(harness.report(figures, {name: value for name, (value, _) in pairs.items()}, extra))
        return
    print(_table(results))
    for name, (value, why) in pairs.items():
        print(f"{name}: {value:.2f}" if value is not None else f"{name}: none ({why})")
    print(", ".join(f"{name} {value:g}" for name, value in index.items()))
    print(", ".join(f"{name} {version or '–'}" for name, version in harness.versions(PACKAGES).items()))


if __name__ == "__main__":
    main()
