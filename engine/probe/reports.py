"""What the script reports itself by `gputrain.report`, which calls the one object of this class."""

from __future__ import annotations

from typing import Any

from .frameworks.scalar_hooks import ScalarHooks, number_of
from .page import Probe
from .steps import Steps, clock


class Reports:
    """No method raises."""

    def __init__(self, probe: Probe, steps: Steps, scalars: ScalarHooks) -> None:
        self._probe = probe
        self._steps = steps
        self._scalars = scalars

    def step(self, samples: int, loss: Any) -> None:
        """An update is done; from now on only reported ones are counted."""
        if "report" in self._probe.off:
            return
        try:
            page = self._probe.trainer_page()
            if page is not None:
                self._steps.report(page, clock(), samples, number_of(loss))
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("report", error)

    def log(self, values: dict[str, Any]) -> None:
        """Scalars."""
        try:
            self._scalars.say("report", values, None)
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("report", error)

    def phase(self, validates: bool) -> None:
        """What is done from now on: validation, or training again."""
        try:
            page = self._probe.trainer_page()
            if page is not None:
                self._steps.enter(page, clock(), validates)
        except Exception as error:  # noqa: BLE001 - the script comes first
            self._probe.failed("report", error)
