"""Changes of a running training that were kept: from then on they are the run's settings, wherever it goes on."""

from __future__ import annotations

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.events import Tuned
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir

KEPT = "kept in the run"
"""How the origin of a value begins that was tried in a running training, and kept."""


class KeptChanges:
    """What was tried and kept, by the verdicts of the trainer."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        """`config`: what the run starts with."""
        self._run = run
        self._trial: Tuned | None = None
        self.config = config
        """With what was kept so far: for a trainer that is started again."""

    def learn(self, event: Tuned) -> str:
        """Take over a verdict; returns what went wrong in writing it down, in words."""
        if event.verdict != "refused":
            self._trial = event if event.verdict == "trying" else None
        return self._keep(event) if event.verdict == "kept" else ""

    def _keep(self, event: Tuned) -> str:
        self.config = settings.replace(self.config, **event.changes)
        plan = launch.read_plan(self._run)
        origins = {**plan.origins, **dict.fromkeys(event.changes, _origin(event))}
        try:
            # Not what the run was started with, which may name the checkpoint that it went on from.
            kept = settings.replace(read_config(self._run.config), **event.changes)
            launch.write_settings(self._run, kept, msgspec.structs.replace(plan, origins=origins))
        except BadInput as error:
            return f"what was kept holds until the run ends, but could not be written down: {error}"
        return ""

    def given_up(self) -> Tuned | None:
        """What became of a change that was tried when the trainer died: the next one starts without it."""
        trial, self._trial = self._trial, None
        return None if trial is None else msgspec.structs.replace(trial, verdict="reverted")


def _origin(event: Tuned) -> str:
    """Where the value came from, in words."""
    if event.before is None or event.after is None:
        return KEPT
    return f"{KEPT}: {event.before:.4g} → {event.after:.4g} img/s"
