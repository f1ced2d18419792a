"""Data of Hugging Face's `datasets`: batches, losses and names as from a folder; bad rows and damaged files."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.training import hugging_face_data as hub
from helpers.training.loading import copied, make
from helpers.training.resumed_losses import losses_of_a_resumed_run
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.training.distributed.process_group import SingleProcess
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.loop.build_trainer import require_same_images

KINDS: tuple[dict[str, Any], ...] = (
    {"loader": "threads"},
    {"loader": "processes", "cache": "disk", "cache_form": "jpeg"},
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("drawn") / "pictures")


@pytest.fixture(scope="module")
def saved(pictures: Path) -> Path:
    return hub.saved(pictures, pictures.parent / "saved")


def test_the_same_batches_as_from_a_folder(pictures: Path, saved: Path) -> None:
    """With threads and processes, from a cache, and divided among ranks."""
    folder, _ = opened(small_config(pictures))
    prepared, _ = opened(small_config(saved, dataset="hf"))
    assert prepared.train.classes == folder.train.classes
    assert prepared.val is not None
    assert folder.val is not None
    assert prepared.train.shards is not None
    assert [shard["images"] for shard in prepared.train.shards.shards] == [12, 12, 12]
    assert prepared.train.path(13) == f"{saved}/train/data-00001-of-00003.arrow/row 1"
    for ours, theirs, training in ((prepared.train, folder.train, True), (prepared.val, folder.val, False)):
        expected = copied(make(theirs, train=training).epoch(1))
        for options in KINDS:
            wanted = copied(make(theirs, train=training, **options).epoch(1)) if "cache" in options else expected
            loader = make(ours, train=training, **options)
            assert copied(loader.epoch(1)) == wanted
            loader.close()
    assert _of_ranks(prepared.train, small_config(saved, dataset="hf")) == _of_ranks(
        folder.train, small_config(pictures)
    )


def _of_ranks(images: ImageSet, config: Any) -> list[Any]:
    found = []
    for rank in range(3):
        loader = make_loader(images, config, train=True, pin=False, rank=rank, ranks=3)
        found.append(copied(loader.epoch(1)))
        loader.close()
    return found


@pytest.mark.long
def test_the_same_losses_as_from_a_folder(pictures: Path, saved: Path, tmp_path: Path) -> None:
    """To the bit; also of a run that is resumed in mid-epoch with another number of workers."""
    losses_of_a_resumed_run(pictures, saved, "hf", tmp_path)


class _Two(SingleProcess):
    """Rank 0 of two, whose other rank gives `other`."""

    count = 2

    def __init__(self, other: tuple[str, str]) -> None:
        self._other = other

    def gather(self, value: Any) -> list[Any]:
        return [value, self._other]


def test_another_version_on_another_machine_is_refused(pictures: Path, saved: Path, tmp_path: Path) -> None:
    images = opened(small_config(saved, dataset="hf"))[0].train
    assert images.shards is not None
    named = small_config(Path("hf:flowers"), dataset="hf")
    copy = shutil.copytree(saved, tmp_path / "copy", copy_function=shutil.copyfile)
    same = opened(small_config(copy, dataset="hf"))[0].train.shards
    assert same is not None
    assert same.key != images.shards.key, "its files have other times"
    require_same_images(images, named, _Two(("b", same.digest())))
    other = opened(small_config(saved, dataset="hf", train_split="train[:35]"))[0].train.shards
    assert other is not None
    with pytest.raises(BadInput, match=r"data_dir: b has another version of hf:flowers than .*: all machines need"):
        require_same_images(images, named, _Two(("b", other.digest())))
    require_same_images(images, small_config(saved, dataset="hf"), _Two(("b", other.digest())))


def test_rows_read_as_datasets_reads_them(pictures: Path, tmp_path: Path) -> None:
    """Of a selection in another order, whose rows have the name of a file, nothing, bytes, or a file that is gone."""
    datasets = hub.package()
    first = pictures / "train" / "down" / "0.jpg"
    rows = hub.dataset_of(pictures, "train").select([20, 3, 11, 30]).cast_column("image", datasets.Image(decode=False))
    changes = {1: {"bytes": None, "path": str(first)}, 2: None, 3: {"bytes": None, "path": str(tmp_path / "gone.jpg")}}
    table = datasets.Dataset.from_dict(
        {"image": [changes.get(at, row["image"]) for at, row in enumerate(rows)], "label": rows["label"]},
        features=rows.features,
    )
    # As `load_dataset` leaves local images: by their paths. save_to_disk would copy them into the file.
    cache = tmp_path / "rows" / "train"
    cache.mkdir(parents=True)
    writer = datasets.arrow_writer.ArrowWriter(path=str(cache / "x-train.arrow"), features=table.features)
    with writer:
        writer.write_table(table.data.table)
        writer.finalize()
    (cache / "dataset_info.json").write_text('{"splits": {"train": {"name": "train"}}}')
    config = small_config(cache, dataset="hf", val_split="")
    data, _ = opened(config)
    assert data.train.shards is not None
    assert data.train.shards.read(0) == rows[0]["image"]["bytes"]
    assert data.train.shards.read(1) == first.read_bytes()
    assert data.train.labels.tolist() == rows["label"]
    assert _bad(data.train, config) == {
        f"{cache}/x-train.arrow/row 2": "the row has no image",
        f"{cache}/x-train.arrow/row 3": f"its row names {tmp_path}/gone.jpg, which cannot be read: "
        "No such file or directory",
    }


def _bad(images: ImageSet, config: Any) -> dict[str, str]:
    found: list[tuple[str, str]] = []
    loader = make_loader(images, settings.replace(config, batch_size=4), train=True, pin=False, on_bad=found.extend)
    assert sum(len(batch[1]) for batch in copied(loader.epoch(0))) == len(images)
    loader.close()
    return dict(found)


def test_a_cut_file_is_named_and_its_whole_rows_are_used(pictures: Path, tmp_path: Path) -> None:
    prepared = hub.package().DatasetDict({"train": hub.dataset_of(pictures, "train")})
    prepared.save_to_disk(tmp_path / "saved", num_shards={"train": 2})
    path = tmp_path / "saved" / "train" / "data-00001-of-00002.arrow"
    content = path.read_bytes()
    config = small_config(tmp_path / "saved", dataset="hf", val_split="")
    path.write_bytes(content[:-8])
    data, _ = opened(config)
    assert len(data.train) == 36
    assert "data-00001-of-00002.arrow: it has no end mark: it may be cut off" in data.warnings[0]
    path.write_bytes(content[: len(content) // 2])
    data, _ = opened(config)
    assert len(data.train) == 18, "those of the other file: this one has one record batch"
    assert "data-00001-of-00002.arrow: cut off or damaged behind row 0" in data.warnings[0]
    with pytest.raises(BadInput, match=r"damaged in 1 places, more than max_bad_images \(0\): data-00001-of-00002"):
        opened(settings.replace(config, max_bad_images=0))


def test_what_no_images_can_be_read_from_is_refused(pictures: Path, tmp_path: Path) -> None:
    datasets = hub.package()
    texts = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    texts.save_to_disk(tmp_path / "texts")
    with pytest.raises(BadInput, match=r"arrow has no column of images; it has text \(string\), label \(int64\)"):
        opened(small_config(tmp_path / "texts", dataset="hf", val_split=""))
    unlabelled = hub.dataset_of(pictures, "train").remove_columns("label").add_column("label", [-1] * 36)
    unlabelled.save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(BadInput, match="row 0 has class -1, of at least 0 in 'label'; unlabelled splits"):
        opened(small_config(tmp_path / "unlabelled", dataset="hf", val_split=""))
    two = hub.dataset_of(pictures, "train")
    two.add_column("other", two["label"]).cast_column("other", two.features["label"]).save_to_disk(tmp_path / "two")
    with pytest.raises(BadInput, match=r"has 2 columns of classes; .*label_key=NAME"):
        opened(small_config(tmp_path / "two", dataset="hf", val_split=""))
    assert len(opened(small_config(tmp_path / "two", dataset="hf", val_split="", label_key="other"))[0].train) == 36


def test_compressed_record_batches_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    table = pa.table({"image": [bytes(5000)] * 4, "label": [0, 1, 0, 1]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    (tmp_path / "a-train.arrow").write_bytes(sink.getvalue())
    (tmp_path / "dataset_info.json").write_text('{"splits": {"train": {}}}')
    with pytest.raises(BadInput, match=r"a-train.arrow: its record batches are compressed; save it with save_to_disk"):
        opened(small_config(tmp_path, dataset="hf", val_split=""))
