"""Faults of output: a training that prints far too much."""

from __future__ import annotations

from pathlib import Path

from faultlab import Finding, Lab, lost

from gputrain.engine.events import LogLine

MANY = 1_000_000
LONG = 10_000_000


def long_line(lab: Lab) -> Finding:
    """One line of 10 MB: its beginning is shown, and what follows it too."""
    live = lab.running()
    since = live.newest + 1
    with Path(live.run.trainer_log).open("ab") as log:
        log.write(b"x" * LONG + b"\n" + b"after the long one\n")
    live.until(LogLine, lambda line: line.text == "after the long one", since=since)
    texts = [event.text for event in live.events if isinstance(event, LogLine) and event.seq >= since]
    live.steps_on()
    return Finding(len(texts) == 2 and len(texts[0]) == 2000 and set(texts[0][:-1]) == {"x"}, lost(live.run), texts[-1])


def many_lines(lab: Lab) -> Finding:
    """A million lines at once: some are shown, the others counted, none silently; the run goes on."""
    live = lab.running()
    since = live.newest + 1
    with Path(live.run.trainer_log).open("ab") as log:
        for start in range(0, MANY, 10_000):
            log.write(b"".join(b"line %d\n" % number for number in range(start, start + 10_000)))
    accounted = shown = 0
    while accounted < MANY:
        # A line tells how many before it were not shown; an ellipsis stands where nothing follows them.
        line = live.until(LogLine, since=since)
        shown += line.text != "…"
        accounted += (line.text != "…") + line.skipped
        since = line.seq + 1
    live.steps_on()
    return Finding(
        live.run.events.stat().st_size < 50 << 20,
        lost(live.run) + abs(MANY - accounted),
        f"{shown} shown, the others counted",
    )
