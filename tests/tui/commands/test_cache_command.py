"""``gputrain-tui cache``: a real child builds it from JPEG files; it is listed, and cleared unless a run uses it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from fakes.images import dark_and_light

from gputrain.engine.jobs import list_and_remove_caches
from gputrain.tui.cli.main import main

SMALL = ["image_size=32", "val_resize=36", "num_workers=1", "cache_form=raw"]


def test_build_list_and_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = dark_and_light(tmp_path / "images", 6)
    (images / "train" / "dark" / "broken.jpg").write_bytes(b"no picture")
    assert main(["cache", "list"]) == 0
    assert "no caches" in capsys.readouterr().out
    assert main(["cache", "build", "--data", str(images), "--json", *SMALL]) == 0
    output = json.loads(capsys.readouterr().out)
    pictures = len(list(images.rglob("*.jpg"))) - 1
    assert output["images"] == pictures
    assert len(output["bad"]) == 1
    assert "broken.jpg" in output["bad"][0]
    found = list_and_remove_caches.list_caches()
    assert {str(list_and_remove_caches.home() / one.id) for one in found} == set(output["folders"])
    assert all(one.bytes > 0 and not one.live for one in found)

    with (list_and_remove_caches.home() / found[0].id / "users").open("r+") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        assert main(["cache", "list"]) == 0
        assert capsys.readouterr().out.count("in use") == 1
        assert main(["cache", "clear", found[0].id, "--yes"]) == 2
        assert "a run has it open" in capsys.readouterr().err
        assert main(["cache", "clear", "--all", "--yes"]) == 0
    assert [one.id for one in list_and_remove_caches.list_caches()] == [found[0].id]
    assert main(["cache", "clear", found[0].id[:8]]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert main(["cache", "clear", found[0].id[:8], "--yes"]) == 0
    assert list_and_remove_caches.list_caches() == []


def test_what_is_not_there_cannot_be_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "clear", "abc", "--yes"]) == 2
    assert "is not a cache" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 2
    assert "name the caches to delete" in capsys.readouterr().err
