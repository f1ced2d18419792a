"""A test alert: what is sent, and the answer of a target."""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.delivery import Target
from gputrain.engine.alerts.webhook import DeliveryError
from gputrain.engine.common.sanitize import plain


class Answer(NamedTuple):
    """What a target did with a test alert."""

    label: str
    """The name of the target, without its address."""
    error: str
    """Why it was not delivered, as plain text without addresses; empty if it was."""

    @property
    def text(self) -> str:
        """The answer as words."""
        return f"not delivered: {self.error}" if self.error else "delivered"


def send_test(target: Target) -> Answer:
    """Send a test alert to `target`; takes up to a minute where a server does not answer."""
    alert = Alert(
        kind="test",
        title="gputrain-tui: a test alert",
        text="Alerts of your runs will look like this.",
        run="",
        host=socket.gethostname(),
        time=time.time(),
    )
    try:
        target.send(alert)
    except DeliveryError as error:
        return Answer(target.label, plain(str(error), 200) or "unknown reason")
    return Answer(target.label, "")
