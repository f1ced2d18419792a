"""The samples of a shard are those that the real package webdataset makes of it."""

from __future__ import annotations

import pytest
from helpers.training.shards import tar
from hypothesis import given, settings
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.shard_formats.tar_samples import scan_tar, split_name

tariterators = pytest.importorskip(
    "webdataset.tariterators", reason="webdataset is not installed (pip install -e '.[dev]')"
)

NAME = st.text("ab./_", min_size=1, max_size=9).filter(lambda name: name.strip("/.") and not name.endswith("/"))


@given(NAME | st.sampled_from(["__meta__/a.jpg", "__x__", "__x__.jpg", "a/__m__/b.jpg", "a.b/c.JPG", "x\n.jpg"]))
@settings(max_examples=500, deadline=None)
def test_keys_and_suffixes(name: str) -> None:
    key, suffix = tariterators.base_plus_ext(name)
    if name.startswith("__"):
        return  # left out by another rule, which the test below covers
    assert split_name(name) == (None if key is None else (key, suffix.lower()))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d/a", "d.x/a", "__m__", "__m__/x", "no"]),
            st.sampled_from([".jpg", ".CLS", ".txt", "", ".left.png", ".jpg.txt"]),
        ),
        max_size=10,
        unique=True,
    )
)
@settings(max_examples=150, deadline=None)
def test_samples_of_an_archive(tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("wds") / "x.tar"
    content = {".CLS": b"3"}
    tar(path, [(key + suffix, content.get(suffix, f"{key}{suffix}".encode())) for key, suffix in names])
    with path.open("rb") as stream:
        files = tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
        expected = [sample for sample in tariterators.group_by_keys(files) if "jpg" in sample]
    if not all("cls" in sample for sample in expected):
        with pytest.raises(BadInput, match="has no cls"):
            scan_tar(str(path), "jpg", "cls", lambda _: None)
        return
    scan = scan_tar(str(path), "jpg", "cls", lambda _: None)
    archive = path.read_bytes()
    found = [archive[at : at + length] for at, length in zip(scan.offsets, scan.lengths, strict=True)]
    assert found == [sample["jpg"] for sample in expected]
    assert scan.labels == [int(sample["cls"]) for sample in expected]
