"""Images in tar and Parquet shards: the same batches and losses as from folders, bad images and damaged shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.training.loading import copied, make
from helpers.training.resumed_losses import losses_of_a_resumed_run
from helpers.training.shards import parquets_of, samples, tar, tars_of
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading.shard_order import ShardOrder
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import DataReady
from gputrain.engine.training.cache import image_cache
from gputrain.engine.training.loader.make_loader import AnyLoader, make_loader
from gputrain.engine.training.loader.shard_readahead import ShardReadahead


def as_tar(images: Path, to: Path) -> Path:
    return tars_of(images, to)


def as_parquet(images: Path, to: Path) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    return parquets_of(images, to, compression="none")


def as_snappy(images: Path, to: Path) -> Path:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    return parquets_of(images, to, compression="snappy", row_group_size=3)


LAYOUTS = pytest.mark.parametrize(
    ("dataset", "convert"),
    [("webdataset", as_tar), ("parquet", as_parquet), ("parquet", as_snappy)],
    ids=["tar", "parquet", "snappy"],
)
Convert = Callable[[Path, Path], Path]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "pictures")


@LAYOUTS
@pytest.mark.parametrize(("cache", "form"), [("none", "raw"), ("disk", "raw"), ("disk", "jpeg"), ("ram", "raw")])
def test_the_same_batches_as_from_a_folder(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
    convert: Convert,
    cache: str,
    form: str,
) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(image_cache, "SHARED_MEMORY", tmp_path / "shm")
    shards = convert(pictures, tmp_path / "shards")
    folder, _ = opened(small_config(pictures))
    sharded, _ = opened(small_config(shards, dataset=dataset))
    assert sharded.train.classes == folder.train.classes
    assert sharded.val is not None
    assert folder.val is not None
    for ours, theirs, training in ((sharded.train, folder.train, True), (sharded.val, folder.val, False)):
        expected = copied(make(theirs, train=training, cache=cache, cache_form=form).epoch(1))
        for kind in ("threads", "processes"):
            loader = make(ours, train=training, cache=cache, cache_form=form, loader=kind)
            assert copied(loader.epoch(1)) == expected
            loader.close()


@LAYOUTS
def test_the_same_losses_as_from_a_folder(pictures: Path, tmp_path: Path, dataset: str, convert: Convert) -> None:
    """To the bit; also of a run that is resumed in mid-epoch with another number of workers."""
    reference, stopped = losses_of_a_resumed_run(pictures, convert(pictures, tmp_path / "shards"), dataset, tmp_path)
    assert [event.classes for event in stopped.of(DataReady)] == [event.classes for event in reference.of(DataReady)]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_bad_images_of_shards_are_replaced_and_named(pictures: Path, tmp_path: Path, kind: str) -> None:
    shards = tars_of(pictures, tmp_path / "shards")
    folder, _ = opened(small_config(pictures))
    archive = shards / "train-000001.tar"
    good = Path(folder.train.path(9)).read_bytes()
    archive.write_bytes(archive.read_bytes().replace(good, b"x" * len(good)))
    sharded, _ = opened(small_config(shards, dataset="webdataset"))
    found: list[tuple[str, str]] = []
    loader = make_loader(
        sharded.train,
        small_config(shards, dataset="webdataset", loader=kind),
        train=True,
        pin=False,
        on_bad=found.extend,
    )
    batches = copied(loader.epoch(0))
    loader.close()
    assert found == [(f"{archive}/000009.jpg", "not an image of a known format")]
    assert 9 not in {index for batch in batches for index in batch[1]}
    assert sum(len(batch[1]) for batch in batches) == 36


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_shard_replaced_in_mid_epoch_is_named_and_gives_no_wrong_pixels(
    pictures: Path, tmp_path: Path, kind: str
) -> None:
    shards = tars_of(pictures, tmp_path / "shards")
    sharded, _ = opened(small_config(shards, dataset="webdataset"))
    found: list[tuple[str, str]] = []
    config = small_config(shards, dataset="webdataset", loader=kind, num_workers=1, prefetch_factor=1, batch_size=2)
    expected = {batch[0]: batch for batch in copied(_loader(sharded.train, config, []).epoch(0))}
    loader = _loader(sharded.train, config, found)
    running = loader.epoch(0)
    next(running)
    replacement = tar(tmp_path / "new.tar", samples(7))
    replacement.rename(shards / "train-000002.tar")
    rest = copied(running)
    loader.close()
    assert len(rest) == 17
    for batch in rest:
        # Batches without an image of that shard are as they were; others have replacements from whole shards.
        if not any(14 <= index < 21 for index in expected[batch[0]][1]):
            assert batch == expected[batch[0]]
    assert found
    for path, why in found:
        assert path.startswith(f"{shards}/train-000002.tar/")
        assert why == "its shard changed after it was indexed; start the run again"


def _loader(images: ImageSet, config: RunConfig, found: list[tuple[str, str]]) -> AnyLoader:
    return make_loader(images, config, train=True, pin=False, on_bad=found.extend)


def test_a_truncated_shard_is_named_and_its_whole_images_are_used(pictures: Path, tmp_path: Path) -> None:
    shards = tars_of(pictures, tmp_path / "shards")
    archive = shards / "train-000003.tar"
    content = archive.read_bytes()
    archive.write_bytes(content[: content.index(b"000025.jpg") + 700])
    config = small_config(shards, dataset="webdataset")
    data, _ = opened(config)
    assert len(data.train) == 33, "four of its seven images, and all of the others"
    assert len(data.warnings) == 1
    assert "train-000003.tar: cut off in 000025.jpg" in data.warnings[0]
    none_allowed = small_config(shards, dataset="webdataset", max_bad_images=0)
    with pytest.raises(BadInput, match=r"damaged in 1 places, more than max_bad_images \(0\): train-000003.tar"):
        opened(none_allowed)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_windows_of_shards_are_used_in_their_order(pictures: Path, tmp_path: Path, kind: str) -> None:
    """Also from the middle of an epoch on, with other workers; shards are read ahead, each once an epoch."""
    shards = tars_of(pictures, tmp_path / "shards")
    config = small_config(shards, dataset="webdataset", shuffle="shards", shuffle_window=2, loader=kind, epochs=1)
    images = opened(config)[0].train
    assert images.shards is not None
    order = ShardOrder(images.shards.starts, 2)
    loader = _loader(images, config, [])
    batches = copied(loader.epoch(3))
    loader.close()
    found = [index for batch in batches for index in batch[1]]
    assert found == order.permutation(config.seed, 3).tolist()
    again = _loader(images, settings.replace(config, num_workers=1, prefetch_factor=1), [])
    assert copied(again.epoch(3, 2)) == batches[2:]
    again.close()


def test_shards_are_read_ahead_by_windows(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = tars_of(pictures, tmp_path / "shards")
    images = opened(small_config(shards, dataset="webdataset"))[0].train.shards
    assert images is not None
    order = ShardOrder(images.starts, 2)
    asked: list[list[int]] = []
    monkeypatch.setattr(ShardReadahead, "_read", lambda self, window: asked.append(window))
    ahead = ShardReadahead(images, order, 7)
    windows = [window.tolist() for window in order.windows(7, 0)]
    sizes = [sum(images.shards[shard]["images"] for shard in window) for window in windows]
    ahead.at(0, 0)
    ahead.at(0, sizes[0] - 1)
    ahead._thread.submit(asked.append, []).result()
    assert asked == [*windows[:2], []], "the first window, and the next one"
    ahead.at(0, sizes[0])
    ahead.at(0, sizes[0] + sizes[1])
    ahead._thread.submit(asked.append, []).result()
    assert asked[3:] == [windows[2], []], "there are three"
    # A resumed run begins in the middle.
    asked.clear()
    later = [window.tolist() for window in order.windows(7, 1)]
    ahead.at(1, 36 - 1)
    ahead._thread.submit(asked.append, []).result()
    ahead.close()
    assert asked == [later[2], []]


@pytest.mark.parametrize(
    ("codec", "group", "warned"), [("snappy", 20, True), ("snappy", 2, False), ("none", 20, False)]
)
def test_compressed_pages_of_many_images_are_warned_of(
    pictures: Path, tmp_path: Path, codec: str, group: int, warned: bool
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install -e '.[dev]')")
    shards = parquets_of(pictures, tmp_path / "shards", per_shard=20, compression=codec, row_group_size=group)
    data, _ = opened(small_config(shards, dataset="parquet"))
    assert len(data.warnings) == warned
    if warned:
        assert "compressed with SNAPPY in pages of 18 images" in data.warnings[0]


def test_a_missing_split_is_located(pictures: Path, tmp_path: Path) -> None:
    shards = tars_of(pictures, tmp_path / "shards")
    with pytest.raises(BadInput, match="val_split: no tar matches nothing-"):
        opened(small_config(shards, dataset="webdataset", val_split="nothing-*.tar"))
    shutil.rmtree(shards)
    with pytest.raises(BadInput, match=r"data_dir: .* does not exist"):
        opened(small_config(shards, dataset="webdataset"))
