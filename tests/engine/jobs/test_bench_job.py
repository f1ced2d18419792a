"""A real, short benchmark of one configuration in its child process."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.images import dark_and_light

from gputrain.engine.configuration import settings
from gputrain.engine.jobs.bench_job import measure_speed


@pytest.mark.long
def test_configuration_is_measured_from_a_filled_cache(tmp_path: Path) -> None:
    data, messages = dark_and_light(tmp_path, 6), list[str]()
    config = settings.build(
        {
            "dataset": "imagefolder",
            "data_dir": str(data),
            "image_size": 32,
            "val_resize": 32,
            "batch_size": 4,
            "width": 4,
            "precision": "bf16",
            "num_workers": 1,
            "cache": "ram",
        }
    )
    speed = measure_speed(config, messages.append, steps=5, warm_up=1)
    assert speed.images_per_second > 0
    assert speed.steps == 5
    assert 0 <= speed.wait_share <= 1
    assert speed.gpu_percent is None
    assert speed.precision == "bf16"
    assert speed.peak_bytes is not None
    assert speed.note
    assert speed.others is None or speed.others >= 0
    assert "filling the cache 0%" in messages
