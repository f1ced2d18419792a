"""Logs to MLflow: to the server of ``MLFLOW_TRACKING_URI``, else to a database in the logger's folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from gputrain.engine.loggers.logged_values import Fact, Scalars, Started, Text

EXPERIMENT = "gputrain"
"""Unless ``MLFLOW_EXPERIMENT_NAME`` names another."""
_MOST_METRICS, _MOST_PARAMETERS = 1000, 100
"""MLflow's limits of one call."""
_LONGEST = 6000
"""MLflow's longest parameter."""


class MlflowLogger:
    """Writes through MLflow's client. Steps are the run's steps, times those of the record."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._own = not os.environ.get("MLFLOW_TRACKING_URI")
        if self._own:
            folder.mkdir(parents=True, exist_ok=True)
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        uri = os.environ["MLFLOW_TRACKING_URI"]
        self._client = MlflowClient(tracking_uri=uri)
        self._name = run_id
        self._folder = folder
        self._id = ""
        self._metrics: list[Metric] = []
        self._texts: dict[str, list[str]] = {}
        self._changed: set[str] = set()
        """Tags of texts that MLflow does not have yet; it keeps one file for each tag."""
        self.hint = f"mlflow ui --backend-store-uri {uri}" if self._own else uri
        """The command that shows the result, or the server's address."""

    def take(self, fact: Fact) -> None:
        """Keep one fact until `flush`. Raises OSError."""
        with _errors():
            self._begin(fact.wall)
            match fact:
                case Scalars():
                    at = int(fact.wall * 1000)
                    self._metrics += [Metric(tag, value, at, fact.step) for tag, value in fact.values.items()]
                case Text():
                    self._texts.setdefault(fact.tag, []).append(f"step {fact.step}: {fact.text}")
                    self._changed.add(fact.tag)
                case Started():
                    self._settings(fact.settings)
                case _:
                    pass

    def _begin(self, wall: float) -> None:
        if self._id:
            return
        run = self._client.create_run(self._experiment(), run_name=self._name, start_time=int(wall * 1000))
        self._id = run.info.run_id

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        place = (self._folder.resolve() / "artifacts").as_uri() if self._own else None
        return str(self._client.create_experiment(name, artifact_location=place))

    def _settings(self, settings: Mapping[str, Any]) -> None:
        # A resumed run may have other values; MLflow keeps the first ones of each parameter, and refuses others.
        known = set(self._client.get_run(self._id).data.params)
        new = [Param(key, str(value)[:_LONGEST]) for key, value in settings.items() if key not in known]
        for part in _parts(new, _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=part)

    def flush(self) -> None:
        """Send what was kept. Raises OSError."""
        with _errors():
            for part in _parts(self._metrics, _MOST_METRICS):
                self._client.log_batch(self._id, metrics=part)
            self._metrics.clear()
            for tag in sorted(self._changed):
                self._client.log_text(self._id, "\n\n".join(self._texts[tag]) + "\n", f"{tag}.md")
            self._changed.clear()

    def close(self, exit_code: int) -> None:
        """End MLflow's run. Raises OSError."""
        if self._id:
            self.flush()
            with _errors():
                self._client.set_terminated(self._id, "FAILED" if exit_code else "FINISHED")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """MLflow's errors as OSError, which a logger's process reports without a traceback."""
    try:
        yield
    except MlflowException as error:
        raise OSError(str(error)) from None


def _parts(items: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
