"""Cost of the accounting inside the data workers, as a share of the loader's throughput.

Two measurements. Direct and exact: CPU time of the accounting's own calls for a batch, over that of making the batch.
By comparison: the real loader with and without accounting, alternating; as noisy as the machine.

    python tests/benchmarks/accounting.py --json
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import harness
import photos
from harness import Contender, Pass

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import lock_waits
from gputrain.engine.dataloading.worker_accounting import BatchAccounting, WorkerTally
from gputrain.engine.datasets import image_set
from gputrain.engine.training.loader import make_loader
from gputrain.engine.training.workers import thread_workers

_CALLS = 2000
_SAMPLES_PER_SECOND = 1 / lock_waits.SAMPLE_SECONDS


class Silent:
    """A meter without measurements."""

    def begin(self) -> None:
        """See `BatchAccounting`, as all methods here."""

    def made(self, index: int) -> None:
        """See `BatchAccounting`."""

    def read(self, seconds: float, size: int) -> None:
        """See `BatchAccounting`."""

    def mapped(self, size: int) -> None:
        """See `BatchAccounting`."""

    def hit(self) -> None:
        """See `BatchAccounting`."""

    def end(self, samples: int) -> WorkerTally:
        """See `BatchAccounting`."""
        return WorkerTally(samples=samples)

    def close(self) -> None:
        """See `BatchAccounting`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Input of both contenders."""

    folder: str
    workers: int
    batch_size: int = 64


def _config(setting: Setting) -> RunConfig:
    values = {"data_dir": setting.folder, "dataset": "imagefolder", "val_split": "", "loader": "threads"}
    return settings.build({**values, "num_workers": setting.workers, "batch_size": setting.batch_size})


def _accounted(setting: Setting) -> Pass:
    source = make_loader.make_loader(image_set.scan(setting.folder, "train"), _config(setting), train=True, pin=False)

    def one_pass() -> int:
        count = 0
        for batch in source.epoch(0):
            count += len(batch.labels)
            source.queue()
        source.take_stats()
        return count

    return one_pass


def _bare(setting: Setting) -> Pass:
    # The patches stay for the life of this process, which is the contender's own.
    mock.patch.object(thread_workers, "BatchAccounting", Silent).start()
    mock.patch.object(lock_waits.LockWaitSampler, "sample", return_value=None).start()
    return _accounted(setting)


CONTENDERS = (
    Contender("accounted", "our loader", "with its accounting", _accounted),
    Contender("bare", "our loader", "without accounting", _bare),
)


def _batch_seconds(batch_size: int) -> float:
    """CPU time of the accounting's calls for a batch."""
    meter = BatchAccounting()
    began = time.thread_time()
    for _ in range(_CALLS):
        meter.begin()
        for index in range(batch_size):
            meter.read(0.0, 1)
            meter.made(index)
        meter.end(batch_size)
    spent = time.thread_time() - began
    meter.close()
    return spent / _CALLS


def _lock_sample_seconds() -> float:
    """CPU time of one reading of a worker."""
    watch = lock_waits.LockWaitSampler(threads=False)
    watch.watch(threading.get_native_id())
    with mock.patch.object(lock_waits, "SAMPLE_SECONDS", 0.0):
        began = time.thread_time()
        for _ in range(_CALLS):
            watch.sample()
        spent = time.thread_time() - began
    watch.close()
    return spent / _CALLS


def _sample_seconds(setting: Setting) -> float:
    """CPU time of a sample in one worker."""
    one = dataclasses.replace(setting, workers=1)
    source = make_loader.make_loader(image_set.scan(setting.folder, "train"), _config(one), train=True, pin=False)
    for _ in source.epoch(0):
        pass
    source.take_stats()
    for _ in source.epoch(1):
        pass
    stats = source.take_stats()
    source.close()
    assert stats.busy is not None
    assert stats.cpu_ratio is not None
    return stats.busy * stats.seconds * stats.cpu_ratio / stats.samples


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the drawn images here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gputrain-bench-") as temporary:
        folder = photos.draw((options.folder or Path(temporary)) / "photos-accounting", options.images)
        setting = Setting(str(folder), options.workers)
        sample, batch, look = _sample_seconds(setting), _batch_seconds(setting.batch_size), _lock_sample_seconds()
        results = {one.contender.key: one for one in harness.compare(CONTENDERS, setting, options.rounds)}
    # A worker is looked at so many times a second, in which it makes 1 / sample samples.
    direct = (batch / setting.batch_size + look * _SAMPLES_PER_SECOND * sample) / sample
    ratio, reason = harness.ratio(results, "accounted", "bare")
    figures = {
        "sample_microseconds": 1e6 * sample,
        "batch_accounting_microseconds": 1e6 * batch,
        "look_microseconds": 1e6 * look,
        "accounting_share": direct,
    }
    ratios = {"accounted_vs_bare_per_cpu_second": ratio}
    if options.json:
        extra = {"reasons": {"accounted_vs_bare_per_cpu_second": reason} if reason else {}}
        print(harness.report(figures, ratios, {**extra, "versions": harness.versions(("torch", "simplejpeg"))}))
        return
    for name, value in {**figures, **ratios}.items():
        print(f"{name:36} {value:.5f}" if value is not None else f"{name:36} none ({reason})")


if __name__ == "__main__":
    main()
