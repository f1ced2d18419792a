"""Images per second from shards, beside folders and other readers: ``python tests/benchmarks/shards.py [--json]``.

The same photograph-like JPEGs as files and as shards of each format; random resized crops of 224², batches of 64.
Ratios are of images per CPU-second in the same run, contenders alternating. Peers that are not installed are named with
the reason; `vs_litdata` and `vs_mosaicml` read the same files. `cold_tar_vs_cold_folder` is by the clock: the page
cache is dropped before each epoch, and the files lie on a file system that waits as a hard disk does (slow_files.py).
The memory and the opening time of an index of 10 million images are measured, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import harness
import photos
import shards_peers as peers
from harness import Contender, Pass, Result
from helpers.training import record_files
from loader_peers import Setting
from shards_index import index_figures
from slow_files import CannotServe, slow

from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.datasets.shards import shard_split
from gputrain.engine.jobs.pack_shards import PackOrder
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.packing.pack_images import SplitPacker
from gputrain.engine.training.readers.shards import image_set_of

PACKAGES = (
    *("gputrain-tui", "torch", "torchvision", "pillow", "simplejpeg", "webdataset", "datasets", "pyarrow"),
    *("litdata", "mosaicml-streaming"),
)
RATIOS = {
    "tar_vs_folder": ("tar", "folder"),
    "parquet_vs_folder": ("parquet", "folder"),
    "snappy_vs_folder": ("snappy", "folder"),
    "tar_windows_vs_folder": ("tar_windows", "folder"),
    "tar_vs_webdataset": ("tar", "webdataset"),
    "parquet_vs_hf_datasets": ("parquet", "hf_datasets"),
    "snappy_vs_hf_datasets": ("snappy", "hf_datasets"),
    "mds_vs_folder": ("mds", "folder"),
    "litdata_vs_folder": ("litdata", "folder"),
    "tfrecord_vs_folder": ("tfrecord", "folder"),
    "vs_litdata": ("litdata", "litdata_package"),
    "vs_mosaicml": ("mds", "mosaicml"),
    "arrow_vs_folder": ("arrow", "folder"),
    "arrow_vs_hf_datasets": ("arrow", "hf_datasets"),
}
COLD = "cold_tar_vs_cold_folder"
SEEK_SECONDS = 0.008
"""Of the throttled disk: that of a hard disk."""
_SLOW = "slow-disk"


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


def _sharded(setting: Setting, form: str, name: str, home: Path | None = None) -> ImageSet:
    os.environ["GPUTRAIN_CACHE"] = str(setting.scratch / "cache")
    config = _config(setting, data_dir=str((home or setting.scratch) / name), dataset=form)
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


def mds(setting: Setting) -> Pass:
    """MDS shards, random access."""
    return _epochs(setting, _sharded(setting, "mds", "mds"))


def arrow(setting: Setting) -> Pass:
    """Arrow files as `datasets` prepares them: images by offset."""
    return _epochs(setting, _sharded(setting, "hf", "arrow"))


def litdata(setting: Setting) -> Pass:
    """Chunks of LitData, random access."""
    return _epochs(setting, _sharded(setting, "litdata", "litdata"))


def tfrecord(setting: Setting) -> Pass:
    """TFRecord files, random access."""
    return _epochs(setting, _sharded(setting, "tfrecord", "tfrecord"))


def _cold(folder: Path, one_pass: Pass) -> Pass:
    """`one_pass` after the files of `folder` have left the page cache."""

    def cold_pass() -> int:
        for path in folder.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)
        return one_pass()

    return cold_pass


def cold_folder(setting: Setting) -> Pass:
    """One file for each image, from the disk."""
    photos_there = setting.scratch / _SLOW / setting.data.name
    return _cold(photos_there / "train", _epochs(setting, scan(str(photos_there), "train")))


def cold_tar(setting: Setting) -> Pass:
    """Tar shards as a slow disk suggests them: by windows, from the disk."""
    there = setting.scratch / _SLOW / setting.scratch.name
    images = _sharded(setting, "webdataset", "tar", there)
    return _cold(there / "tar", _epochs(setting, images, shuffle="shards", shuffle_window=4))


CONTENDERS = (
    Contender("folder", "gputrain, files", "antialiased", folder),
    Contender("tar", "gputrain, tar shards", "antialiased", tar),
    Contender("tar_windows", "gputrain, tar shards, shuffle=shards", "antialiased", tar_windows),
    Contender("parquet", "gputrain, Parquet", "antialiased", parquet),
    Contender("snappy", "gputrain, Parquet with snappy", "antialiased", snappy),
    Contender("mds", "gputrain, MDS", "antialiased", mds),
    Contender("litdata", "gputrain, LitData", "antialiased", litdata),
    Contender("tfrecord", "gputrain, TFRecord", "antialiased", tfrecord),
    Contender("arrow", "gputrain, Arrow files of datasets", "antialiased", arrow),
    Contender("webdataset", "webdataset, Pillow", "antialiased", peers.webdataset),
    Contender("hf_datasets", "Hugging Face datasets, Pillow", "antialiased", peers.hf_datasets),
    Contender("litdata_package", "LitData, torchvision", "antialiased", peers.litdata),
    Contender("mosaicml", "MosaicML Streaming, Pillow", "antialiased", peers.mosaicml),
)
_COLD = (
    Contender("cold_folder", "gputrain, files, cold", "antialiased", cold_folder),
    Contender("cold_tar", "gputrain, tar shards, cold", "antialiased", cold_tar),
)


def _prepare_records(setting: Setting, images: ImageSet, shard_bytes: int) -> None:
    """Write the images in the formats of record files; tests compare these files with those of the real packages."""
    rows = [(Path(images.path(at)).read_bytes(), int(images.labels[at])) for at in range(len(images))]
    per_shard = max(1, shard_bytes * len(rows) // sum(len(content) for content, _ in rows))
    samples: list[record_files.Sample] = [{"image": content, "label": label} for content, label in rows]
    record_files.mds(setting.scratch / "mds" / "train", samples, {"image": "jpeg", "label": "int"}, per_shard)
    record_files.litdata(setting.scratch / "litdata" / "train", samples, ["jpeg", "int"], per_shard)
    for number, start in enumerate(range(0, len(rows), per_shard)):
        records = [
            record_files.example({"image/encoded": content, "image/class/label": label})
            for content, label in rows[start : start + per_shard]
        ]
        record_files.tfrecord(setting.scratch / "tfrecord" / f"train-{number:05d}.tfrecord", records)


def prepare(setting: Setting, shard_bytes: int) -> str:
    """Write the images as shards; returns the reason if there can be no Parquet files."""
    images = scan(str(setting.data), "train")
    _prepare_records(setting, images, shard_bytes)
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


def compare_cold(setting: Setting, rounds: int) -> tuple[dict[str, Result], str]:
    """Results of the cold contenders, and the reason if there are none."""
    mount = setting.scratch / _SLOW
    mount.mkdir(exist_ok=True)
    try:
        with slow(str(setting.data.parent), mount, SEEK_SECONDS, disk=True):
            return {one.contender.key: one for one in harness.compare(_COLD, setting, rounds)}, ""
    except CannotServe as error:
        return {}, str(error)


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
        pairs[COLD] = (None, "not run")
        if not options.only or COLD in options.only:
            cold, why = compare_cold(setting, min(options.rounds, 3))
            results |= cold
            pairs[COLD] = (None, why) if why else harness.ratio(cold, "cold_tar", "cold_folder", wall=True)
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
