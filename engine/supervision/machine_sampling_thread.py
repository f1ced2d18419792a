"""Hardware samples of a run: for its record, and as a table in ``resources.csv``."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import cache_home
from gputrain.engine.common.remote_urls import local_folder
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import HardwareSample
from gputrain.engine.monitor.csv_writer import CsvLog
from gputrain.engine.monitor.sampler import Sampler, next_due


class MachineSampling:
    """Samples the machine on a thread of its own; call all methods on the main thread.

    If ``resources.csv`` cannot be written, the record still has the samples.
    """

    def __init__(self, directory: Path, config: RunConfig) -> None:
        self._table_path = directory / "resources.csv" if config.monitor.resources_csv else None
        self._table: CsvLog | None = None
        self._warned = False
        self._interval = config.monitor.sample_seconds
        # The demo images are in the cache folder: that disk is read.
        self._data = cache_home() if not config.data.data_dir else local_folder(config.data.data_dir)
        self._stop = threading.Event()

    def start(self, take: Callable[[HardwareSample], None]) -> None:
        """Start sampling; `take` gets each sample, on the sampling thread."""
        threading.Thread(target=self._sample, args=(take,), name="sampler", daemon=True).start()

    def _sample(self, take: Callable[[HardwareSample], None]) -> None:
        made = Sampler(run_pids=lambda: (os.getpid(),), data_path=self._data, root_role="supervisor")
        with contextlib.closing(made) as sampler:
            due = time.monotonic()
            while not self._stop.is_set():
                take(sampler.sample())
                due = next_due(due, self._interval)
                self._stop.wait(due - time.monotonic())

    def add_to_table(self, sample: HardwareSample) -> str:
        """Append `sample` to ``resources.csv``, if set. Returns a warning at the first failure, else ``""``."""
        if self._table_path is None:
            return ""
        try:
            if self._table is None:
                self._table = CsvLog(self._table_path)
            self._table.append(sample)
        except BadInput as error:
            return self._warning(str(error))
        except OSError as error:
            return self._warning(f"resources.csv cannot be written: {error.strerror}")
        return ""

    def _warning(self, text: str) -> str:
        warned, self._warned = self._warned, True
        return "" if warned else f"{text}; the record has the samples too"

    def stop(self) -> None:
        """Stop sampling, without waiting for the thread."""
        self._stop.set()
        if self._table is not None:
            self._table.close()
