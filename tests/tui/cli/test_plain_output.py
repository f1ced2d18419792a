"""A run as plain lines: what is told of hints."""

from __future__ import annotations

from gputrain.engine.events import Hint, HintsChanged, Prediction
from gputrain.tui.cli.plain_output import PlainLines

HINT = Hint(
    id="few-workers",
    severity="critical",
    title="Too few data workers",
    evidence="the workers were busy 97 % of the time",
    action="The workers are busy and cores are idle: num_workers=4.",
    changes={"num_workers": 4},
    prediction=Prediction(low=1090.0, high=1240.0, limiter="the device"),
)


def test_a_hint_tells_what_to_do_and_what_that_promises_before_why() -> None:
    plain = PlainLines()
    (told,) = plain.take(HintsChanged(hints=(HINT,)))
    assert told.endswith(
        "hint (critical): Too few data workers. → The workers are busy and cores are idle: num_workers=4. "
        "Expected: 1 090–1 240 img/s, then the device limits. Evidence: the workers were busy 97 % of the time"
    )
    assert list(plain.take(HintsChanged(hints=(HINT,)))) == []
