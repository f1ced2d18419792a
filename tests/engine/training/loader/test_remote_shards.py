"""Runs on remote shards: the losses of local ones to the bit, also resumed in mid-epoch; faults of server and cache."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from helpers.servers import shard_server as serving
from helpers.servers.shard_server import ShardServer, of_downloads
from helpers.training.loading import copied
from helpers.training.shards import tars_of
from helpers.training.training_tools import Result, draw_images, opened, small_config, train

from gputrain.engine.common import remote_urls
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.datasets.remote_shards import http_store, retries
from gputrain.engine.datasets.shard_formats import tar_samples
from gputrain.engine.datasets.shards import packed_index, shard_index
from gputrain.engine.events import EpochEnded, LoaderStats, ModelReady, Outcome, Validated
from gputrain.engine.training.loader.make_loader import AnyLoader, make_loader

SHARDS = 6
"""Of 36 images."""
REMOTE = {
    "dataset": "webdataset",
    "train_split": "train-{000000..000005}.tar",
    "val_split": "val-{000000..000002}.tar",
    "shuffle": "shards",
    "shuffle_window": 2,
}


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    return tars_of(draw_images(folder / "pictures"), folder / "shards")


@pytest.fixture
def server(tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(http_store, "STALL_SECONDS", 1.0)
    served = shutil.copytree(tars, tmp_path / "served")
    with serving.shard_server(served) as running:
        yield running


def remote(server: ShardServer, **changes: object) -> RunConfig:
    return small_config(server.folder, **{**REMOTE, "data_dir": server.url, **changes})


def loader_of(images: ImageSet, config: RunConfig, found: list[tuple[str, str]] | None = None) -> AnyLoader:
    return make_loader(images, config, train=True, pin=False, on_bad=(found if found is not None else []).extend)


def epoch_of(config: RunConfig, found: list[tuple[str, str]] | None = None, start: int = 0) -> list[object]:
    images = opened(config)[0].train
    with contextlib.closing(loader_of(images, config, found)) as loader:
        return [*copied(loader.epoch(1, start))]


def empty_cache() -> None:
    shutil.rmtree(remote_urls.shard_cache_home())


def test_losses_to_the_bit_and_a_resume_in_mid_epoch(
    server: ShardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty cache, other workers, a server that fails now and then, and a signature that is nowhere stored."""
    monkeypatch.setenv(remote_urls.QUERY_VARIABLE, "sig=SECRET")
    # Workers would have the environment of the server that an earlier test started.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    for name in "ab":
        (tmp_path / name).mkdir()
    reference = train(tmp_path / "a", small_config(server.folder, **REMOTE))
    assert reference.ended.outcome == Outcome.FINISHED
    server.faults += [of_downloads(fault) for fault in (serving.unavailable, serving.breaking_off, serving.wrong_range)]
    config = remote(server)
    stopped = train(tmp_path / "b", config, stop_at=8)
    assert not server.faults, "all of them happened"
    start = max((tmp_path / "b" / "checkpoints").glob("*.pt"))
    empty_cache()
    changes = {"resume_from": str(start), "num_workers": 1, "loader": "processes"}
    rest = train(tmp_path / "b", settings.replace(config, **changes))
    assert rest.ended.outcome == Outcome.FINISHED
    assert rest.of(ModelReady)[0].start_step == 8
    for results in (_train_losses, _validations):
        assert results(stopped) + results(rest) == results(reference)
    assert server.queries == {"sig=SECRET"}
    assert "SECRET" not in f"{stopped.events}{rest.events}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"SECRET" in path.read_bytes()]
    came = sum(event.downloaded for event in rest.of(LoaderStats))
    sizes = {path.name: path.stat().st_size for path in server.folder.glob("*.tar")}
    assert 0 < came <= sum(sizes.values()), "each shard at most once"
    assert all(0 <= event.download_share <= 1 for event in rest.of(LoaderStats) if event.samples)
    assert all(event.downloaded is None for event in reference.of(LoaderStats))


def _train_losses(result: Result) -> list[float | None]:
    return [event.train_loss for event in result.of(EpochEnded)]


def _validations(result: Result) -> list[dict[str, float]]:
    return [event.metrics for event in result.of(Validated)]


def test_shards_come_ahead_once_and_within_the_limit(server: ShardServer) -> None:
    config = remote(server)
    expected = epoch_of(small_config(server.folder, **REMOTE))
    images = opened(config)[0].train
    assert images.shards is not None
    empty_cache()
    server.requests.clear()
    largest = max(path.stat().st_size for path in server.folder.glob("train-*.tar"))
    limit = settings.replace(config, remote_cache_gib=7 * largest / (1 << 30))
    images = opened(limit)[0].train
    with contextlib.closing(loader_of(images, limit)) as loader:
        found = []
        for batch in loader.epoch(1):
            found += copied(iter([batch]))
            assert sum(path.stat().st_size for path in remote_urls.shard_cache_home().glob("*.tar")) <= 7 * largest
    assert found == expected
    assert [len(server.downloads(f"train-{number:06d}.tar")) for number in range(SHARDS)] == [1] * SHARDS


def test_ranks_of_a_machine_share_the_downloads(server: ShardServer) -> None:
    config = remote(server)
    images = opened(config)[0].train
    empty_cache()
    server.requests.clear()
    batches: list[tuple[int, list[int], list[int], bytes]] = []
    with contextlib.ExitStack() as opened_loaders:
        for rank in range(3):
            loader = make_loader(images, config, train=True, pin=False, rank=rank, ranks=3)
            opened_loaders.enter_context(contextlib.closing(loader))
            batches += copied(loader.epoch(1))
    assert [len(server.downloads(f"train-{number:06d}.tar")) for number in range(SHARDS)] == [1] * SHARDS
    assert sorted(index for batch in batches for index in batch[1]) == list(range(36))


@pytest.mark.parametrize("shuffle", ["shards", "global"])
def test_a_cache_of_two_shards_is_enough(server: ShardServer, shuffle: str) -> None:
    """Slow, but the same batches: what does not fit is evicted and fetched again."""
    expected = epoch_of(small_config(server.folder, **{**REMOTE, "shuffle": shuffle}))
    largest = max(path.stat().st_size for path in server.folder.glob("*.tar"))
    config = remote(server, shuffle=shuffle, num_workers=1, remote_cache_gib=2.5 * largest / (1 << 30))
    assert epoch_of(config) == expected


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_shard_that_changes_is_named_and_gives_no_wrong_pixels(server: ShardServer, kind: str) -> None:
    config = remote(server, loader=kind)
    local = small_config(server.folder, **REMOTE)
    with contextlib.closing(loader_of(opened(local)[0].train, local)) as loader:
        expected = {batch[0]: batch for batch in copied(loader.epoch(1))}
    images = opened(config)[0].train
    shutil.copy(server.folder / "train-000004.tar", server.folder / "train-000002.tar")
    empty_cache()
    found: list[tuple[str, str]] = []
    with contextlib.closing(loader_of(images, config, found)) as loader:
        batches = copied(loader.epoch(1))
    assert len(batches) == len(expected)
    for batch in batches:
        if not any(14 <= index < 21 for index in expected[batch[0]][1]):
            assert batch == expected[batch[0]]
    assert len(found) == 7, "all of its images"
    for path, why in found:
        assert path.startswith(f"{server.url}/train-000002.tar/")
        assert why == "its shard changed after it was indexed; start the run again"


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_lasting_fault_ends_the_run_with_its_cause(
    server: ShardServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Not by bad images: a store that is away for an hour is no fault of the images."""
    config = remote(server, loader=kind, max_bad_images=0)
    images = opened(config)[0].train
    empty_cache()
    (server.folder / "train-000003.tar").unlink()
    with (
        contextlib.closing(loader_of(images, config)) as loader,
        pytest.raises(BadInput, match=rf"^{server.url}/train-000003.tar: it does not exist$"),
    ):
        copied(loader.epoch(1))


def test_an_index_beside_the_shards_saves_their_download(server: ShardServer) -> None:
    expected = epoch_of(small_config(server.folder, **REMOTE))
    for path in server.folder.glob("*.tar"):
        packed_index.write(path, path.name, tar_samples.scan_tar(str(path), "auto", "auto", lambda _: None))
    config = remote(server)
    images = opened(config)[0].train
    assert not [path for path, wanted in server.requests if path.endswith(".tar") and wanted != "bytes=0-0"]
    with contextlib.closing(loader_of(images, config)) as loader:
        assert copied(loader.epoch(1)) == expected
    # Its digest is compared: the same size, and a server that says nothing of versions, are no proof.
    empty_cache()
    damaged = server.folder / "train-000001.tar"
    server.faults += [of_downloads(serving.damaging, damaged.name)] * 20
    with (
        contextlib.closing(loader_of(images, config)) as loader,
        pytest.raises(BadInput, match=r"train-000001.tar: its content differs from its sha256"),
    ):
        copied(loader.epoch(1))


def test_an_index_of_another_shard_is_not_used(server: ShardServer) -> None:
    path = server.folder / "train-000000.tar"
    packed_index.write(path, path.name, tar_samples.scan_tar(str(path), "auto", "auto", lambda _: None))
    path.write_bytes(path.read_bytes() + bytes(10240))
    assert (
        packed_index.packed_part(f"{server.url}/{path.name}", path.stat().st_size, "webdataset", "auto", "auto") is None
    )
    assert len(opened(remote(server))[0].train) == 36


def test_an_interrupted_index_continues(server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    config = remote(server)
    server.faults.append(of_downloads(lambda request: request.refuse(403), "train-000004.tar"))
    with pytest.raises(BadInput, match=r"train-000004.tar: HTTP 403: access denied"):
        opened(config)
    assert len(opened(config)[0].train) == 36
    done = [len(server.downloads(f"train-{number:06d}.tar")) for number in range(SHARDS)]
    assert done[4] == 2
    assert set(done) == {1, 2}
    assert shard_index.home().is_dir()


def test_names_do_not_download(server: ShardServer) -> None:
    images = opened(remote(server))[0].train
    assert images.path(8) == f"{server.url}/train-000001.tar/000008.jpg"
    empty_cache()
    server.requests.clear()
    assert images.path(8) == f"{server.url}/train-000001.tar/image 1"
    assert not server.requests


def test_a_shard_that_is_cut_off_in_the_store_is_named_and_its_whole_images_are_used(server: ShardServer) -> None:
    """The server has sent all that it has: an incomplete upload. The cut one replaces nothing, so it is no change."""
    path = server.folder / "train-000003.tar"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"000025.jpg") + 700])
    local = small_config(server.folder, **REMOTE)
    data, _ = opened(remote(server))
    assert len(data.train) == 33, "four of its seven images, and all of the others"
    assert len(data.warnings) == 1
    assert "what is whole is used: train-000003.tar: cut off in 000025.jpg" in data.warnings[0]
    assert epoch_of(remote(server)) == epoch_of(local)
    with pytest.raises(BadInput, match=r"damaged in 1 places, more than max_bad_images \(0\): train-000003.tar: cut"):
        opened(remote(server, max_bad_images=0))
    path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"more than max_bad_images \(0\): train-000003.tar: the file is empty"):
        opened(remote(server, max_bad_images=0))
