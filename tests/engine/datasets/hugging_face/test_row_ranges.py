"""Parts of a split: the same rows as `datasets` reads for the same text."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.training import hugging_face_data as hub
from helpers.training.training_tools import draw_images, opened, small_config

from gputrain.engine.common.errors import BadInput
from gputrain.engine.datasets.hugging_face import row_ranges

ROWS = [":", ":90%", "90%:", "10%:20%", ":7", "3:-2", "-5:", "-33%:", "1%:99%", "7:93%", "0:1", "-12%:-3%"]


@pytest.mark.parametrize("count", [1, 7, 36, 150, 1000])
def test_bounds_are_those_of_datasets(count: int) -> None:
    hub.package()
    from datasets.arrow_reader import ReadInstruction

    compared = 0
    for rows in ROWS:
        (wanted,) = ReadInstruction.from_spec(f"train[{rows}]").to_absolute({"train": count})
        first, last = wanted.from_ or 0, count if wanted.to is None else wanted.to
        if first >= last:
            with pytest.raises(BadInput, match="has none of the"):
                row_ranges.bounds(rows, count)
            continue
        compared += 1
        assert row_ranges.bounds(rows, count) == (first, last), rows
    assert compared


@pytest.mark.parametrize("text", ["train[10%]", "train[a:b]", "train[::2]", "train[]"])
def test_other_parts_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"val_split: 'train\[.*expected a part such as train\[:90%\]"):
        row_ranges.split_and_rows(text, "val_split")


def test_parts_of_a_split_train_and_validate(tmp_path: Path) -> None:
    """Across the borders of files; names, places and the key of caches are those of the part."""
    saved = hub.saved(draw_images(tmp_path / "pictures"), tmp_path / "saved")
    parts = {"train_split": "train[25%:90%]", "val_split": "train[90%:]"}
    data, _ = opened(small_config(saved, dataset="hf", **parts))
    every, _ = opened(small_config(saved, dataset="hf", val_split=""))
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (23, 4)
    assert data.train.shards is not None
    assert data.val.shards is not None
    assert every.train.shards is not None
    for images, first in ((data.train, 9), (data.val, 32)):
        assert images.labels.tolist() == every.train.labels.tolist()[first : first + len(images)]
        for at in range(len(images)):
            assert images.path(at) == every.train.path(first + at)
            assert images.place(at) == every.train.place(first + at)
            assert images.shards is not None
            assert images.shards.read(at) == every.train.shards.read(first + at)
    assert len({images.shards.key for images in (data.train, data.val, every.train) if images.shards}) == 3
    assert not [text for text in data.warnings if "trained on" in text]
    mixed, _ = opened(small_config(saved, dataset="hf", train_split="train[:75%]", val_split="train[50%:]"))
    assert [text for text in mixed.warnings if "9 of the 18 validation images are trained on" in text]
    with pytest.raises(BadInput, match=r"train_split: \[40:\] has none of the 36 rows of the split"):
        opened(small_config(saved, dataset="hf", train_split="train[40:]"))
