"""Progressive resizing: image sizes of loaders, their notices, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training.pictures import folder
from helpers.training.training_tools import draw_images, small_config, train

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.dataloading import random_resized_crop
from gputrain.engine.datasets.image_set import ImageSet, scan
from gputrain.engine.events import EpochEnded, ModelReady, Notice, Steps
from gputrain.engine.training.cache import image_cache
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.transforms import decode

GROWING: dict[str, Any] = {"image_size": 32, "progressive_start": 16, "progressive_epochs": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return scan(str(folder(tmp_path_factory.mktemp("data"), classes=2, per_class=8)), "train")


def config(**changes: Any) -> Any:
    values = {"val_resize": 40, "batch_size": 5, "num_workers": 2, "loader": "threads", "seed": 9, "epochs": 4}
    return settings.build(values | GROWING | changes)


def epochs(images: ImageSet, **changes: Any) -> list[list[torch.Tensor]]:
    loader = make_loader(images, config(**changes), train=True, pin=False)
    made = [[batch.images.clone() for batch in loader.epoch(epoch)] for epoch in range(4)]
    loader.close()
    return made


def test_each_epoch_has_its_image_size_with_any_workers(images: ImageSet) -> None:
    made = epochs(images, num_workers=0)
    assert [[tuple(batch.shape) for batch in epoch] for epoch in made] == [
        [(5, 3, side, side)] * 3 for side in (16, 24, 32, 32)
    ]
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for epoch in made for batch in epoch)
    for kind in ("threads", "processes"):
        other = epochs(images, loader=kind)
        assert all(torch.equal(a, b) for x, y in zip(made, other, strict=True) for a, b in zip(x, y, strict=True))


def test_a_small_sample_is_its_box_resized(images: ImageSet) -> None:
    """The same box as at full size: the crop does not depend on the image size."""
    exact = 0
    for batch in make_loader(images, config(), train=True, pin=False).epoch(0):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            pixels = decode.decode(Path(images.path(index)).read_bytes(), "a")
            draws = random_resized_crop.uniforms(9, 0, np.array([index]))[0].tolist()
            left, top, width, height = random_resized_crop.random_crop_box(
                draws, pixels.shape[1], pixels.shape[0], 0.08
            )
            if min(width, height) >= 32:
                continue  # decoded at half its size, which differs a little
            part = torch.from_numpy(pixels[top : top + height, left : left + width].copy()).permute(2, 0, 1)
            resized = torch.nn.functional.interpolate(part[None], size=(16, 16), mode="bilinear", antialias=True)
            assert torch.equal(image, resized[0])
            exact += 1
    assert exact


def test_centre_crops_show_the_same_part_at_any_size(images: ImageSet) -> None:
    """A centre crop of 16 from 20 pixels shows what one of 32 from 40 does."""
    made = epochs(images, augment="none", num_workers=1, batch_size=16)
    order = [
        next(make_loader(images, config(augment="none", batch_size=16), train=True, pin=False).epoch(e)) for e in (0, 2)
    ]
    small = dict(zip(order[0].indices.tolist(), made[0][0], strict=True))
    large = dict(zip(order[1].indices.tolist(), made[2][0], strict=True))
    for index, image in small.items():
        half = torch.nn.functional.avg_pool2d(large[index].float(), 2)
        assert (image.float() - half).abs().mean() < 10


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_one_cache_serves_all_sizes(
    images: ImageSet, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(image_cache, "SHARED_MEMORY", tmp_path / "shm")
    # Otherwise the next epoch is begun while this one's last images are made.
    apart = config(cache="ram", cache_form=form, persistent_workers=False)
    loader = make_loader(images, apart, train=True, pin=False)
    hits = []
    for epoch in range(3):
        assert {batch.images.shape[2] for batch in loader.epoch(epoch)} == {(16, 24, 32)[epoch]}
        hits.append(loader.take_stats().cache_hits)
    loader.close()
    assert hits[0] == 0
    assert hits[2] == 15


def test_validation_is_at_full_size_from_the_start(images: ImageSet) -> None:
    loader = make_loader(images, config(val_batch_size=16), train=False, pin=False)
    assert [batch.images.shape[2] for batch in loader.epoch(0)] == [32]


EVERY: dict[str, Any] = {"auto_augment": "randaugment", "cutmix": 1.0, "random_erasing": 0.5, "color_jitter": 0.2}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"), per_class=8)


def test_a_run_reports_its_image_sizes_and_resumes_with_them(drawn: Path, tmp_path: Path) -> None:
    """From the middle of the second epoch on, with all device transforms."""
    for name in ("whole", "again", "other"):
        (tmp_path / name).mkdir()
    settings_ = {"epochs": 4, "checkpoint_steps": 6, "keep_last": 50} | GROWING | EVERY
    result = train(tmp_path / "whole", small_config(drawn, **settings_))
    told = [event.text for event in result.of(Notice) if event.text.startswith("training images are")]
    assert told == [
        "training images are 16 × 16 from epoch 1 on",
        "training images are 24 × 24 from epoch 2 on",
        "training images are 32 × 32 from epoch 3 on",
    ]
    assert {(event.epoch, event.image_size) for event in result.of(Steps)} == {(0, 16), (1, 24), (2, 32), (3, 32)}
    assert result.of(ModelReady)[0].image_size == 32
    assert len(result.of(EpochEnded)) == 4

    later = checkpoint_index.find(tmp_path / "whole" / "checkpoints", "6")
    file = tmp_path / "whole" / "checkpoints" / later.file
    again = train(tmp_path / "again", small_config(drawn, resume_from=str(file), **settings_))
    assert [event.text for event in again.of(Notice) if "training images" in event.text] == told[1:]
    assert [event.train_loss for event in again.of(EpochEnded)] == [e.train_loss for e in result.of(EpochEnded)][1:]

    with pytest.raises(BadInput, match="progressive_start: was 16 and is 24"):
        train(tmp_path / "other", small_config(drawn, resume_from=str(file), **settings_ | {"progressive_start": 24}))


def test_a_network_of_one_size_is_refused_before_the_first_step(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="progressive_start: vit_b_32 does not take images of 160 × 160"):
        train(tmp_path, small_config(drawn, model="vit_b_32", image_size=224, progressive_start=160, val_resize=256))
