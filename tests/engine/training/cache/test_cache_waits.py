"""Slow parts of a cache: syncing does not block training, and scanning files reports progress."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

import pytest
from helpers.training.caching import config, epoch, opened
from helpers.training.pictures import folder
from helpers.training.training_tools import draw_images, small_config, train

from gputrain.engine.datasets.image_set import scan
from gputrain.engine.events import Phase, PhaseChanged
from gputrain.engine.training.cache.cache_store import CacheStore
from gputrain.engine.training.loader.make_loader import make_loader


def test_epochs_continue_during_a_slow_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = scan(str(folder(tmp_path / "data", classes=2, per_class=6)), "train")
    disk, begun = threading.Event(), []
    flush = CacheStore.commit

    def slow(store: CacheStore) -> None:
        begun.append(threading.current_thread())
        assert disk.wait(60)
        flush(store)

    monkeypatch.setattr(CacheStore, "commit", slow)
    loader = make_loader(images, config(), train=True, pin=False)
    # Without a thread of its own the first epoch would not end.
    assert epoch(loader) == epoch(loader)
    assert len(begun) == 1
    disk.set()
    loader.close()
    again = opened(images, config())
    with closing(again):
        assert again.store.stored() == len(images)


def test_a_sync_error_is_raised_with_the_next_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = scan(str(folder(tmp_path / "data", classes=2, per_class=6)), "train")
    source = opened(images, config())

    def fails(store: CacheStore) -> None:
        raise OSError("input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(CacheStore, "commit", fails)
        source.commit()
        assert source._sync_result is not None
        assert isinstance(source._sync_result.exception(60), OSError)
        with pytest.raises(OSError, match="input/output error"):
            source.commit()
    source.close()


def test_scanning_many_files_reports_progress_and_its_end(tmp_path: Path) -> None:
    data = draw_images(tmp_path / "data", per_class=2)
    first = sorted((data / "train").rglob("*.jpg"))[0]
    for number in range(1100):
        os.link(first, first.with_name(f"same{number:04}.jpg"))
    result = train(tmp_path / "run", small_config(data, cache="disk", max_steps=1, epochs=1, num_workers=0))
    told = result.of(PhaseChanged)
    looks = [phase for phase in told if phase.detail == "files for the cache"]
    assert looks[0].phase is Phase.SCANNING_DATA
    assert (looks[-1].done, looks[-1].total, looks[-1].unit) == (1106, 1106, "files")
    # The model is built before and after it.
    assert [phase.phase for phase in told].count(Phase.BUILDING) == 2
