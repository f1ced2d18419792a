"""MDS shards and LitData's chunks as the real packages write them: our reader gives what theirs give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.training.record_files import Sample, litdata, mds
from helpers.training.shards import data
from helpers.training.training_tools import draw_images

from gputrain.engine.datasets.image_set import scan
from gputrain.engine.datasets.shards import shard_split

pytestmark = pytest.mark.formats
_COLUMNS = {"image": "jpeg", "label": "int", "name": "str"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    home = draw_images(tmp_path_factory.mktemp("drawn"), per_class=4)
    found = scan(str(home), "train")
    names = found.classes
    return [
        {"image": Path(found.path(at)).read_bytes(), "label": int(label), "name": names[label]}
        for at, label in enumerate(found.labels.tolist())
    ]


def run(program: str, *arguments: str) -> Any:
    """The last line that the program prints, as JSON; in a process of its own, since the packages start others."""
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


def check(home: Path, dataset: str, samples: list[Sample]) -> None:
    for key in ("label", "name"):
        found = shard_split.open_split(data(home, dataset, label_key=key), "train")
        assert [found.images.read(at) for at in range(len(samples))] == [sample["image"] for sample in samples]
        assert [found.classes[label] for label in found.labels] == [str(sample[key]) for sample in samples]
        assert not found.damage


_WRITE_MDS = """
import json, pathlib, sys
from PIL import Image
from streaming import MDSWriter, StreamingDataset
out, rows, columns, compression = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4] or None
with MDSWriter(columns=columns, out=out, compression=compression, size_limit=20_000) as writer:
    for path, label, name in rows:
        writer.write({"image": Image.open(path), "label": label, "name": name})
print(json.dumps(len(list(pathlib.Path(out).glob("shard.*")))))
"""
_READ_MDS = """
import json, sys
from streaming import StreamingDataset
data = StreamingDataset(local=sys.argv[1], batch_size=1, shuffle=False)
print(json.dumps([[one["label"], one["name"], one["image"].size] for one in (data[at] for at in range(len(data)))]))
"""


@pytest.mark.parametrize("compression", ["", "zstd:7", "gz", "bz2", "br:3", "snappy"])
def test_mds(samples: list[Sample], tmp_path: Path, compression: str) -> None:
    pytest.importorskip("streaming", reason="mosaicml-streaming is not installed (pip install -e '.[formats]')")
    rows = _files(samples, tmp_path)
    shards = run(_WRITE_MDS, str(tmp_path / "train"), json.dumps(rows), json.dumps(_COLUMNS), compression)
    assert shards > 1
    check(tmp_path, "mds", samples)
    if compression:
        return
    # The tests' own writer writes the same bytes.
    first = json.loads((tmp_path / "train" / "index.json").read_bytes())["shards"][0]
    mds(tmp_path / "own", samples, _COLUMNS, per_shard=first["samples"])
    real, own = (tmp_path / name / "shard.00000.mds" for name in ("train", "own"))
    head, config = real.read_bytes(), json.dumps({**_config(first)}, sort_keys=True).encode()
    assert config in head
    assert head.split(config)[1] == own.read_bytes().split(b"}", 1)[1]
    described = json.loads((tmp_path / "own" / "index.json").read_bytes())["shards"][0]
    assert described.keys() == first.keys()
    found = run(_READ_MDS, str(tmp_path / "own"))
    assert [tuple(row[:2]) for row in found] == [(sample["label"], sample["name"]) for sample in samples]


def _config(shard: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shard.items() if key not in ("samples", "raw_data", "zip_data")}


def _files(samples: list[Sample], folder: Path) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for number, sample in enumerate(samples):
        path = folder / f"{number}.jpg"
        assert isinstance(sample["image"], bytes)
        path.write_bytes(sample["image"])
        rows.append([str(path), sample["label"], sample["name"]])
    return rows


_WRITE_LITDATA = """
import json, os, sys
from PIL import Image
from litdata.streaming.cache import Cache
out, rows, compression, form = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
os.makedirs(out)
codec, _, level = compression.partition("/")
more = {"compression": codec, "compression_level": level} if codec else {}
cache = Cache(out, chunk_size=5, **more)
for at, (path, label, name) in enumerate(rows):
    image = Image.open(path)
    if form == "path":
        image = path
    if form == "bytes":
        image = open(path, "rb").read()
    cache[at] = {"image": image, "label": label, "name": name} if form != "tuple" else (image, label, name)
cache.done()
cache.merge()
print(json.dumps(sorted(os.listdir(out))))
"""
_LEVELS = ("chunk", "batch", "sample")
_READ_LITDATA = """
import json, sys
from litdata import StreamingDataset
data = StreamingDataset(sys.argv[1], shuffle=False)
print(json.dumps([[int(one["label"]), one["name"]] for one in (data[at] for at in range(len(data)))]))
"""


@pytest.mark.parametrize(
    ("compression", "form"),
    [("", "dict"), ("", "path"), ("", "bytes"), ("", "tuple"), *((f"zstd/{level}", "dict") for level in _LEVELS)],
)
def test_litdata(samples: list[Sample], tmp_path: Path, compression: str, form: str) -> None:
    pytest.importorskip("litdata", reason="litdata is not installed (pip install -e '.[formats]')")
    rows = _files(samples, tmp_path)
    names = run(_WRITE_LITDATA, str(tmp_path / "train"), json.dumps(rows), compression, form)
    assert "index.json" in names
    assert len(names) == 4
    if form != "tuple":
        check(tmp_path, "litdata", samples)
    else:
        found = shard_split.open_split(data(tmp_path, "litdata", label_key="1"), "train")
        assert [found.images.read(at) for at in range(len(samples))] == [sample["image"] for sample in samples]
    if compression or form in ("path", "bytes"):
        return
    own = samples if form == "dict" else [tuple(sample.values()) for sample in samples]
    litdata(tmp_path / "own", own, ["jpeg", "int", "str"], per_chunk=5)
    real, ours = (json.loads((tmp_path / folder / "index.json").read_bytes()) for folder in ("train", "own"))
    assert ours["chunks"] == real["chunks"]
    for key in ("data_format", "data_spec", "compression"):
        assert ours["config"][key] == real["config"][key]
    for chunk in real["chunks"]:
        name = chunk["filename"]
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "train" / name).read_bytes()
    if form == "dict":
        assert run(_READ_LITDATA, str(tmp_path / "own")) == [[sample["label"], sample["name"]] for sample in samples]
