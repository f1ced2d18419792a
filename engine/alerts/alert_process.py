"""The process that sends a run's alerts, as the supervisor sees it: started, and never waited for."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

from gputrain.engine.alerts.alert_settings import read_alert_settings
from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Notice
from gputrain.engine.processes import background_process
from gputrain.engine.runs.run_directory import RunDir


class AlertProcess:
    """Sends alerts while the run is live, and a while after. Its failures are notices and do not affect the run."""

    def __init__(self, run: RunDir) -> None:
        """Start the process if the user has set a target, on the main thread. Raises BadInput or OSError."""
        self._process: subprocess.Popen[bytes] | None = None
        self._failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log = run.directory / "alerts.log"
        if not read_alert_settings().targets:
            return
        offset = run.events.stat().st_size if run.events.exists() else 0
        command = [sys.executable, "-P", "-m", "gputrain.engine.alerts", str(run.directory), str(offset)]
        self._process = background_process.start(command, self._log)
        threading.Thread(target=self._read, name="alerts", daemon=True).start()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._failures.put(plain(line.decode("utf-8", "replace").strip(), 300))

    def check(self) -> Iterator[Notice]:
        """Warnings about alerts that were not delivered, and about the end of the process."""
        while not self._failures.empty():
            yield Notice(level="warning", text=self._failures.get(), source="supervisor")
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            last_line = files.last_line(self._log)
            text = f"the process for alerts ended (exit code {code}){': ' + last_line if last_line else ''}"
            yield Notice(level="warning", text=text, source="supervisor")


def start_alerts(run: RunDir) -> tuple[AlertProcess | None, str]:
    """The process of `run`, or None and why there is none."""
    try:
        return AlertProcess(run), ""
    except BadInput as error:
        return None, f"no alerts are sent: {error}"
    except OSError as error:
        return None, f"no alerts are sent: {error.strerror or error}"
