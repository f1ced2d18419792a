"""Hardware samples of a run, and resources.csv."""

from __future__ import annotations

import queue
from pathlib import Path

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import HardwareSample
from gputrain.engine.supervision.machine_sampling_thread import MachineSampling

CONFIG = settings.replace(RunConfig(), resources_csv=True, sample_seconds=0.2)


def test_an_unwritable_table_is_reported_once_and_sampling_continues(tmp_path: Path) -> None:
    (tmp_path / "resources.csv").write_text("a diary\n")
    sampling = MachineSampling(tmp_path, CONFIG)
    found: queue.SimpleQueue[HardwareSample] = queue.SimpleQueue()
    sampling.start(found.put)
    told = [sampling.add_to_table(found.get(timeout=60)) for _ in range(3)]
    sampling.stop()
    assert "is not a log of samples (begins with 'a diary')" in told[0]
    assert told[1:] == ["", ""]
    assert (tmp_path / "resources.csv").read_text() == "a diary\n"


def test_a_table_has_a_row_for_each_sample(tmp_path: Path) -> None:
    sampling = MachineSampling(tmp_path, CONFIG)
    found: queue.SimpleQueue[HardwareSample] = queue.SimpleQueue()
    sampling.start(found.put)
    assert [sampling.add_to_table(found.get(timeout=60)) for _ in range(2)] == ["", ""]
    sampling.stop()
    assert (tmp_path / "resources.csv").read_text().count("\n") == 3
