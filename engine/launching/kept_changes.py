"""Kept changes: settings that live tuning changed and kept; they are saved as the run's settings."""

from __future__ import annotations

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import per_second
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Tuned
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir

KEPT = "kept in the run"
"""Start of the origin of a value that live tuning kept."""


class KeptChanges:
    """The settings of a run with the changes that its trainer reported as kept."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        """`config`: the settings at the start."""
        self._run = run
        self._trial: Tuned | None = None
        self.config = config
        """The settings with all kept changes, for a restarted trainer."""

    def learn(self, event: Tuned) -> str:
        """Apply a verdict of the trainer. Returns a warning if the kept settings could not be saved, else ``""``."""
        if event.verdict != "refused":
            self._trial = event if event.verdict == "trying" else None
        return self._keep(event) if event.verdict == "kept" else ""

    def _keep(self, event: Tuned) -> str:
        self.config = settings.replace(self.config, **event.changes)
        plan = launch.read_plan(self._run)
        origins = {**plan.origins, **dict.fromkeys(event.changes, _origin(event))}
        try:
            # From the file, not from `self.config`, whose resume_from may name the checkpoint of a resumed run.
            kept = settings.replace(read_config(self._run.config), **event.changes)
            launch.write_settings(self._run, kept, msgspec.structs.replace(plan, origins=origins))
        except BadInput as error:
            return f"the kept settings apply until the run ends, but could not be saved: {error}"
        return ""

    def revert_trial(self) -> Tuned | None:
        """The verdict ``reverted`` for a change that was on trial when the trainer died, else None."""
        trial, self._trial = self._trial, None
        return None if trial is None else msgspec.structs.replace(trial, verdict="reverted")


def _origin(event: Tuned) -> str:
    """Where the value came from, in words."""
    if event.before is None or event.after is None:
        return KEPT
    return f"{KEPT}: {event.before:.4g} → {event.after:.4g} {per_second(event.unit)}"
