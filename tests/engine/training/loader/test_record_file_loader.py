"""Images in MDS, LitData and TFRecord files: the same batches and losses as from folders, and as from remote ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.servers.shard_server import shard_server
from helpers.training.loading import copied, make
from helpers.training.record_files import litdata_of, mds_of, tfrecords_of
from helpers.training.resumed_losses import losses_of_a_resumed_run
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.configuration import settings
from gputrain.engine.training.loader.image_loader import ImageLoader
from gputrain.engine.training.loader.make_loader import make_loader

Convert = Callable[[Path, Path], Path]
LAYOUTS: dict[str, tuple[str, Convert]] = {
    "mds": ("mds", mds_of),
    "mds-gz": ("mds", partial(mds_of, compression="gz")),
    "litdata": ("litdata", litdata_of),
    "tfrecord": ("tfrecord", tfrecords_of),
}
"""Value of `dataset`, and how a folder is converted."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("drawn") / "pictures")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_batches_as_from_a_folder(pictures: Path, tmp_path: Path, layout: str) -> None:
    dataset, convert = LAYOUTS[layout]
    shards = convert(pictures, tmp_path / "shards")
    folder, _ = opened(small_config(pictures))
    sharded, _ = opened(small_config(shards, dataset=dataset))
    assert sharded.train.classes == folder.train.classes
    assert sharded.val is not None
    assert folder.val is not None
    for ours, theirs, training in ((sharded.train, folder.train, True), (sharded.val, folder.val, False)):
        expected = copied(make(theirs, train=training).epoch(1))
        for kind in ("threads", "processes") if layout == "mds-gz" and training else ("threads",):
            loader = make(ours, train=training, loader=kind)
            assert copied(loader.epoch(1)) == expected
            loader.close()


@pytest.mark.long
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_losses_as_from_a_folder(pictures: Path, tmp_path: Path, layout: str) -> None:
    """To the bit; also of a run that is resumed in mid-epoch with another number of workers."""
    dataset, convert = LAYOUTS[layout]
    losses_of_a_resumed_run(pictures, convert(pictures, tmp_path / "shards"), dataset, tmp_path)


@pytest.mark.parametrize("layout", ["mds-gz", "litdata"])
def test_remote_shards_need_no_listing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """The index names the shards; each is downloaded once, windows of them ahead of their use, on any rank."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    dataset, convert = LAYOUTS[layout]
    convert(pictures, tmp_path / "served")
    folder, _ = opened(small_config(pictures))
    with shard_server(tmp_path / "served") as server:
        config = small_config(pictures, dataset=dataset, data_dir=server.url, shuffle="shards", shuffle_window=2)
        remote = opened(config)[0].train
        assert remote.classes == folder.train.classes
        loader = make_loader(remote, config, train=True, pin=False)
        batches = copied(loader.epoch(0))
        assert isinstance(loader, ImageLoader)
        assert loader.take_stats().downloaded is not None
        loader.close()
    local = opened(settings.replace(config, data_dir=str(tmp_path / "served")))[0].train
    again = make_loader(local, config, train=True, pin=False)
    assert copied(again.epoch(0)) == batches
    assert isinstance(again, ImageLoader)
    assert again.take_stats().downloaded is None, "unpacking is no download"
    again.close()
    names = {path.removeprefix("/") for path, _ in server.requests if "shard." in path or "chunk-" in path}
    assert len(names) >= 6
    assert all(len(server.downloads(name)) == 1 for name in names)
