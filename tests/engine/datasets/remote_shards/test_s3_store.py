"""Shards in S3: a real server of the protocol (moto) on this machine, through fsspec and s3fs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from helpers.training.loading import copied
from helpers.training.shards import samples, tar, tars_of
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.common import remote_urls
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.remote_shards import retries
from gputrain.engine.datasets.remote_shards.choose_store import store_of
from gputrain.engine.datasets.remote_shards.object_store import RemoteError, RemoteFileChanged
from gputrain.engine.datasets.remote_shards.shard_cache import ShardCache, Wanted
from gputrain.engine.datasets.shards.shard_patterns import shards_of
from gputrain.engine.training.loader.make_loader import make_loader

pytest.importorskip("s3fs", reason="s3fs is not installed (pip install -e '.[dev]')")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed (pip install -e '.[dev]')")
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

BUCKET = "s3://shards/flowers"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the empty bucket."""
    import boto3
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY-OF-A-TEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET-OF-A-TEST")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    with urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")):
        pass
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="shards")
    return client


def put(bucket: Any, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"flowers/{path.relative_to(folder)}"
            bucket.put_object(Bucket="shards", Key=key, Body=path.read_bytes())


def test_the_same_batches_as_local(bucket: Any, tmp_path: Path) -> None:
    tars = tars_of(draw_images(tmp_path / "pictures"), tmp_path / "shards")
    put(bucket, tars)
    changes = {"dataset": "webdataset", "shuffle": "shards", "shuffle_window": 2}
    remote = small_config(tars, **changes, data_dir=BUCKET)

    def epoch_of(config: RunConfig) -> list[object]:
        data = opened(config)[0]
        assert data.val is not None
        with contextlib.closing(make_loader(data.train, config, train=True, pin=False)) as loader:
            return [data.train.classes, len(data.val), *copied(loader.epoch(1))]

    expected = epoch_of(small_config(tars, **changes))
    assert epoch_of(remote) == expected
    for kind in ("threads", "processes"):
        shutil.rmtree(remote_urls.shard_cache_home())
        assert epoch_of(small_config(tars, **changes, data_dir=BUCKET, loader=kind)) == expected
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"SECRET-OF-A-TEST" in path.read_bytes()]
    assert not written


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["train-0.tar", "train-1.tar"]),
        ("train-*.tar", ["train-0.tar", "train-1.tar"]),
        ("train-{1..0}.tar", ["train-1.tar", "train-0.tar"]),
        ("more", ["more/x.tar"]),
        ("mo*/*.tar::train-0.tar", ["more/x.tar", "train-0.tar"]),
    ],
)
def test_the_shards_of_a_split(bucket: Any, tmp_path: Path, split: str, expected: list[str]) -> None:
    for name in ("train-0.tar", "train-1.tar", "val-0.tar", "more/x.tar"):
        tar(tmp_path / "local" / name, samples(2))
    put(bucket, tmp_path / "local")
    assert shards_of(BUCKET, split, "webdataset") == [f"{BUCKET}/{name}" for name in expected]


def test_what_is_missing_is_named(bucket: Any, tmp_path: Path) -> None:
    put(bucket, tar(tmp_path / "local" / "val-0.tar", samples(2)).parent)
    with pytest.raises(BadInput, match=r"no tar matches train in data_dir \(s3://shards/flowers\); it has val-0"):
        shards_of(BUCKET, "train", "webdataset")
    with pytest.raises(BadInput, match=r"no tar matches train in data_dir \(s3://none/x\); it is empty or"):
        shards_of("s3://none/x", "train", "webdataset")
    url = f"{BUCKET}/train-0.tar"
    with pytest.raises(RemoteError, match=r"s3://shards/flowers/train-0.tar: it does not exist"):
        store_of(url).stat(url)


def test_the_etag_is_compared_where_it_is_the_md5(bucket: Any, tmp_path: Path) -> None:
    put(bucket, tar(tmp_path / "local" / "a.tar", samples(2)).parent)
    url = f"{BUCKET}/a.tar"
    store = store_of(url)
    found = store.stat(url, fresh=True)
    assert found.digest.startswith("md5:")
    assert found.version == store.stat(url).version, "the listing and the file say the same"
    handle = ShardCache(tmp_path / "kept").fetch(store, Wanted(url, found), lambda size: None)
    assert handle is not None
    os.close(handle)
    damaged = found._replace(digest="md5:" + "0" * 32)
    with pytest.raises(RemoteError, match=r"a.tar: its content differs from its md5"):
        ShardCache(tmp_path / "other").fetch(store, Wanted(url, damaged), lambda size: None)


def test_a_file_that_changed_is_not_taken(bucket: Any, tmp_path: Path) -> None:
    put(bucket, tar(tmp_path / "local" / "a.tar", samples(2)).parent)
    url = f"{BUCKET}/a.tar"
    store = store_of(url)
    before = store.stat(url)
    put(bucket, tar(tmp_path / "local" / "a.tar", samples(2, 7)).parent)
    assert store.stat(url, fresh=True).size == before.size
    with pytest.raises(RemoteFileChanged):
        ShardCache(tmp_path / "kept").fetch(store, Wanted(url, before), lambda size: None)


def test_an_unreachable_store_is_named_without_secrets(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(retries, "_tries", 2)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInput, match=r"data_dir: s3://shards/flowers: .* \(2 tries\)") as failed:
        shards_of(BUCKET, "train", "webdataset")
    assert "OF-A-TEST" not in str(failed.value)
