"""Cache capacity: kept subset, free space, and clean-up of caches in memory."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.training.caching import config, epoch, opened, own_memory
from helpers.training.pictures import folder

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.estimates.cache_resolution import resolution
from gputrain.engine.training.cache import cache_capacity
from gputrain.engine.training.cache.cache_forms import RawForm
from gputrain.engine.training.cache.cache_store import CacheStore
from gputrain.engine.training.loader.make_loader import make_loader


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return scan(str(folder(tmp_path / "data", classes=2, per_class=6)), "train")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_memory(tmp_path, monkeypatch)


def test_a_small_budget_keeps_a_fixed_subset(images: ImageSet) -> None:
    whole = cache_capacity.mean_size(images, RawForm(resolution(settings.flatten(config()), train=True))) * len(images)
    small = config(cache_gib=whole / 2 / cache_capacity.GIB)
    loader = make_loader(images, small, train=True, pin=False)
    assert "of 12 images" in loader.note
    assert "the others are read from their files" in loader.note
    first, second, third = (epoch(loader, 0) for _ in range(3))
    assert first == second == third
    kept = int(cache_capacity.cached_subset(12, json.loads(_only_plan().read_text())["share"]).sum())
    loader.take_stats()
    epoch(loader, 1)
    hits = loader.take_stats().cache_hits
    assert hits is not None
    # Their mean size is an estimate: the last one may not fit.
    assert kept - 1 <= hits <= kept
    assert 1 < kept < 12
    loader.close()


def _only_plan() -> Path:
    (plan,) = Path(os.environ["GPUTRAIN_CACHE"]).glob("images/*/plan.json")
    return plan


def test_the_subset_grows_with_the_share() -> None:
    parts = [cache_capacity.cached_subset(10_000, share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert all((small <= large).all() for small, large in itertools.pairwise(parts))
    assert np.allclose([part.mean() for part in parts], [0, 0.1, 0.5, 0.9, 1], atol=0.02)
    assert parts[-1].all()


@pytest.mark.parametrize(("place", "remedy"), [("disk", "GPUTRAIN_CACHE"), ("ram", "cache=disk")])
def test_too_little_space_is_refused_before_anything_is_written(images: ImageSet, place: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"cache={place}: 12 images need .* but there are only .*{remedy}"):
        make_loader(images, config(cache=place, cache_gib=1e-9), train=True, pin=False)


def test_memory_is_bounded_by_what_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(cache_capacity, "_CGROUP", tmp_path)
    assert cache_capacity.free_memory(tmp_path) == 360_000


def test_a_cache_that_cannot_be_created_is_refused(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUTRAIN_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(BadInput, match=r"the cache in .*below.* cannot be made: Not a directory"):
        make_loader(images, config(), train=True, pin=False)


def test_a_cache_in_memory_is_deleted_with_its_last_run(images: ImageSet, memory: Path) -> None:
    first = make_loader(images, config(cache="ram"), train=True, pin=False)
    second = make_loader(images, config(cache="ram"), train=True, pin=False)
    epoch(first)
    assert epoch(second) == epoch(first)
    assert second.take_stats().cache_hits == 12
    first.close()
    assert list(memory.glob("*/*"))
    second.close()
    assert not list(memory.glob("*/*"))


def test_a_cache_in_memory_of_a_killed_run_is_removed(images: ImageSet, memory: Path) -> None:
    left = memory / f"gputrain-{os.getuid()}" / "old"
    CacheStore(left, 10, 1000).put(0, b"abc", 1, 1)
    in_use = CacheStore(left.with_name("used"), 10, 1000)
    del left
    script = (
        "import sys, os, signal\nfrom pathlib import Path\n"
        "from gputrain.engine.training.cache.cache_store import CacheStore\n"
        "CacheStore(Path(sys.argv[1]), 10, 1000)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = memory / f"gputrain-{os.getuid()}" / "killed"
    assert subprocess.run([sys.executable, "-c", script, str(killed)]).returncode == -signal.SIGKILL
    assert killed.exists()
    opened(images, config(cache="ram")).close()
    assert not killed.exists()
    assert in_use.folder.exists()
    in_use.close()


def test_a_folder_of_another_user_is_refused(images: ImageSet, memory: Path, tmp_path: Path) -> None:
    (memory / f"gputrain-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="belongs to somebody else"):
        make_loader(images, config(cache="ram"), train=True, pin=False)
