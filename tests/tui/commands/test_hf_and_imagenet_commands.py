"""All commands that read data, on a data set of Hugging Face and on ImageNet's archives: real child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.training import hugging_face_data as hub
from helpers.training import imagenet_archives as archives
from helpers.training.training_tools import draw_images, opened, small_config

SMALL = ["image_size=32", "val_resize=36", "batch_size=4", "width=4", "num_workers=1", "precision=fp32", "device=cpu"]


def command(*arguments: str, cache: Path) -> Any:
    """What a command prints with ``--json``; of a run the last line."""
    env = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-m", "gputrain.tui.cli", *arguments, "--json"]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1] if arguments[0] == "train" else done.stdout)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["name", "imagenet"])
def test_every_command_knows_the_data(tmp_path: Path, kind: str) -> None:
    pictures, cache = draw_images(tmp_path / "pictures", per_class=4), tmp_path / "cache"
    if kind == "name":
        hub.cached(pictures, cache)
        data = ["dataset=hf:flowers@train,validation"]
    else:
        data = ["--data", str(archives.write(pictures, tmp_path / "data"))]
    words = ["--recipe", "simple-cnn", *data, *SMALL]
    checked = command("check", "--no-speed", *words, cache=cache)
    assert checked["works"] is True
    ended = command("train", "epochs=1", *words, cache=cache)
    assert ended["outcome"] == "finished"
    assert command("predict", "last", cache=cache)["predicted"][0]["samples"] == 6
    assert command("calibrate", "--seconds", "5", *words, cache=cache)["train_images"] == 12
    assert command("cache", "build", *words, "cache_form=raw", cache=cache)["images"] == 18
    packed = command("pack", *words, "--to", str(tmp_path / "packed"), "--keep-order", cache=cache)
    assert (packed["images"], packed["bad"]) == (18, [])
    source, copy = opened(small_config(pictures))[0], opened(small_config(tmp_path / "packed", dataset="webdataset"))[0]
    for there, here in ((copy.train, source.train), (copy.val, source.val)):
        assert there is not None
        assert here is not None
        assert there.shards is not None
        found = [there.shards.read(at) for at in range(len(there))]
        assert sorted(found) == sorted(Path(here.path(at)).read_bytes() for at in range(len(here)))
