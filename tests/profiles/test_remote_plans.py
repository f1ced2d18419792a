"""Plans for remote shards: looked up before the start, never downloaded; URLs without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.servers.shard_server import ShardServer, shard_server
from helpers.training.shards import samples, tar

from gputrain.engine.common import remote_urls
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.datasets.shards import shard_index, shard_preview
from gputrain.engine.datasets.shards.shard_set import ShardSet
from gputrain.engine.hardware.machine import Machine, inspect_machine
from gputrain.engine.planning.plan import Plan
from gputrain.profiles.resolve_plan import resolve_plan

SPLITS = {"train_split": "train-{0..1}.tar", "val_split": "val-0.tar"}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return inspect_machine()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShardServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(shard_preview, "_answers", {})
    for name in ("train-0", "train-1", "val-0"):
        tar(tmp_path / "served" / f"{name}.tar", samples(6))
    with shard_server(tmp_path / "served") as served:
        yield served


def plan(machine: Machine, url: str, **own: Any) -> Plan:
    return resolve_plan(machine, recipe="simple-cnn", data_dir=url, overrides=own)


def test_a_url_is_looked_up_and_shards_are_used_in_turn(machine: Machine, server: ShardServer) -> None:
    made = plan(machine, server.url, **SPLITS)
    assert not made.refuses
    assert (made.config.data.dataset, made.config.data.shuffle) == ("webdataset", "shards")
    assert made.config.data.data_dir == server.url
    assert not server.downloads("train-0.tar"), "a plan downloads nothing"
    asked = len(server.requests)
    plan(machine, server.url, **SPLITS, epochs=3)
    assert len(server.requests) == asked, "a launcher makes many plans"


def test_indexed_shards_are_counted(machine: Machine, server: ShardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    values = settings.flatten(plan(machine, server.url, **SPLITS).config)
    assert count_data(values) is None
    for names in (("train-0", "train-1"), ("val-0",)):
        urls = tuple(f"{server.url}/{name}.tar" for name in names)
        shard_index.ensure_index(ShardSet("webdataset", urls, "auto", "auto"))
    monkeypatch.setattr(shard_preview, "_answers", {})
    facts = count_data(values)
    assert facts is not None
    assert (facts.train_images, facts.val_images) == (12, 6)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, "a web server has no listings; name the shards with braces: train_split='train-{000000..000146}.tar'"),
        ({**SPLITS, "val_split": "val-7.tar"}, "/val-7.tar: it does not exist"),
        (
            {**SPLITS, "dataset": "300wlp"},
            "data_dir: a URL is read for shards alone (dataset=webdataset, dataset=parquet, dataset=mds, ",
        ),
    ],
)
def test_faults_are_found_before_the_start(
    machine: Machine, server: ShardServer, own: dict[str, str], message: str
) -> None:
    refuses = plan(machine, server.url, **own).refuses
    assert len(refuses) == 1
    assert message in refuses[0]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "https://host/data?sig=SECRET",
            "data_dir: https://host/data has a query string, .*GPUTRAIN_DATA_QUERY",
        ),
        ("https://me:SECRET@host/data", "data_dir: https://host/data holds a user name or password"),
        ("ftp://host/data", "data_dir: ftp:// is unknown; http://, https://, s3://, gs://, hf:// are read"),
    ],
)
def test_a_url_that_holds_a_secret_is_refused_without_it(machine: Machine, url: str, message: str) -> None:
    for ask in (lambda: plan(machine, url), lambda: settings.parse_override(f"data_dir={url}")):
        with pytest.raises(BadInput, match=message) as refused:
            ask()
        assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://u:p@h/a/b.tar?sig=S failed", "GET https://h/a/b.tar failed"),
        ("'s3://bucket/key?versionId=3': no", "'s3://bucket/key': no"),
        ("plain /path/a@b?c", "plain /path/a@b?c"),
    ],
)
def test_texts_show_urls_without_secrets(text: str, shown: str) -> None:
    assert remote_urls.without_secrets(text) == shown
