"""The panel layout of the dashboard by window size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gputrain.tui.layout.smallest_window import SMALLEST


class Place(NamedTuple):
    """Position and size of a panel in cells."""

    x: int
    y: int
    width: int
    height: int


Row = tuple[int, Sequence[tuple[str, float]]]
"""A height in cells, and the panels of the row with their shares of the width."""


def arrange(width: int, height: int, gpus: int = 0, full: str = "", ranks: int = 1) -> dict[str, Place]:
    """Places of the panels by name; empty if the window is too small. The panel `full` gets the whole body.

    With several `ranks` their panel takes the place of the processes, or shares that of log or throughput.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return {}
    body = height - 2
    if full:
        rows: list[Row] = [(body, [(full, 1.0)])]
    elif width >= 150 and body >= 36:
        rows = _large(body, gpus, ranks)
    elif width >= 100 and body >= max(28, 19 + _medium_machine(gpus)):
        rows = _medium(body, gpus, ranks)
    elif width >= 76 and body >= 20:
        rows = _column(body, gpus, ranks)
    else:
        rows = [(body, [("compact", 1.0)])]
    return stack(rows, width, height)


def stack(rows: Sequence[Row], width: int, height: int) -> dict[str, Place]:
    """Stacks `rows` between status line and key bar; their heights must sum to `height` minus 2."""
    places = {"status": Place(0, 0, width, 1), "keys": Place(0, height - 1, width, 1)}
    y = 1
    for tall, panels in rows:
        places.update(_row(panels, y, width, tall))
        y += tall
    return places


def _row(panels: Sequence[tuple[str, float]], y: int, width: int, height: int) -> dict[str, Place]:
    places = {}
    x, taken = 0, 0.0
    whole = sum(share for _, share in panels)
    for name, share in panels:
        taken += share
        end = round(width * taken / whole)
        places[name] = Place(x, y, end - x, height)
        x = end
    return places


_LARGE_LAST = (("log", 1.1), ("processes", 1.1), ("run", 1.0))


def _large(body: int, gpus: int, ranks: int) -> list[Row]:
    machine = min(max(15, 2 + gpus + 5), body - 6 - 12 - 8)
    if gpus == 2:
        machine = min(16, body - 26)
    left = body - 6 - machine
    charts = max(12, round(left * (0.46 if ranks > 1 else 0.56)))
    gpu_share = 1.6 if gpus else 0.6
    return [
        (6, [("pipeline", 1)]),
        (charts, [("hints", 1.2), ("throughput", 1), ("loss", 1), ("metric", 1)]),
        (machine, [("gpu", gpu_share), ("cpu", 1), ("ram", 1), ("disk", 1)]),
        (left - charts, [("ranks", 2.2), ("log", 1.1), ("run", 1)] if ranks > 1 else _LARGE_LAST),
    ]


def _medium_machine(gpus: int) -> int:
    return max(6, 2 + (gpus if gpus > 1 else 4))


def _medium(body: int, gpus: int, ranks: int) -> list[Row]:
    machine = _medium_machine(gpus)
    left = body - 6 - machine
    hints = 7 if left >= 20 else 5
    log = max(3, min(8, (left - hints) // (2 if ranks > 1 else 3)))
    # With several GPUs each has one row, which must also hold power and throttle reason.
    gpu_share = 3.4 if gpus > 1 else 1.6 if gpus else 1.0
    return [
        (6, [("pipeline", 1)]),
        (hints, [("hints", 1.2), ("run", 1)]),
        (left - hints - log, [("throughput", 1), ("loss", 1), ("metric", 1)]),
        (machine, [("gpu", gpu_share), ("cpu", 1), ("ram", 1), ("disk", 1)]),
        (log, [("ranks", 1.6), ("log", 1)] if ranks > 1 else [("log", 1)]),
    ]


def _column(body: int, gpus: int, ranks: int) -> list[Row]:
    machine = 2 + max(1, gpus) + 1
    pipeline = 4 if body - machine >= 15 else 3
    hints = 5 if body - machine - pipeline >= 11 else 4
    rest = body - machine - pipeline - hints
    rows: list[Row] = [(pipeline, [("pipeline", 1)]), (hints, [("hints", 1)])]
    if rest >= 7:
        first = ("ranks", 1.4) if ranks > 1 else ("throughput", 1.0)
        rows += [(rest, [first, ("run", 1)]), (machine, [("machine", 1)])]
    elif rest >= 3:
        rows += [(rest, [("ranks" if ranks > 1 else "run", 1)]), (machine, [("machine", 1)])]
    else:
        rows.append((machine + rest, [("machine", 1)]))
    return rows
