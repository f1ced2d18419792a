"""Logs to Trackio: to a database in the logger's folder, or where Trackio's own variables say."""

from __future__ import annotations

import os
from pathlib import Path

from gputrain.engine.loggers.logged_values import Fact, Scalars, Started, Text

PROJECT = "gputrain"
"""Unless ``TRACKIO_PROJECT`` names another."""


class TrackioLogger:
    """Writes through Trackio. Its own samples of the machine are off: the record has them."""

    def __init__(self, folder: Path, run_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Trackio reads it when it is imported.
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve()))
        import trackio

        self._trackio = trackio
        self._project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._name = run_id
        self._begun = False
        self.hint = f"TRACKIO_DIR={os.environ['TRACKIO_DIR']} trackio show --project {self._project}"
        """The command that shows the result."""

    def take(self, fact: Fact) -> None:
        """Log one fact."""
        match fact:
            case Scalars():
                self._begin({})
                self._trackio.log({**fact.values, "seconds": fact.seconds}, step=fact.step)
            case Text():
                self._begin({})
                self._trackio.log({fact.tag: self._trackio.Markdown(_escaped(fact.text))}, step=fact.step)
            case Started():
                self._begin(dict(fact.settings))
            case _:
                pass

    def _begin(self, settings: dict[str, object]) -> None:
        # The settings are those of Trackio's run from its start; a resumed run keeps the first ones.
        if self._begun:
            return
        self._begun = True
        self._trackio.init(
            project=self._project, name=self._name, config=settings, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def flush(self) -> None:
        """Nothing: a thread of Trackio's writes twice a second."""

    def close(self, exit_code: int) -> None:
        """Write the rest; Trackio has no exit status."""
        if self._begun:
            self._trackio.finish()


def _escaped(text: str) -> str:
    """Text whose HTML Markdown does not take for its own: it comes from files and processes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
