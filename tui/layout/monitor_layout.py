"""The panel layout of the monitor by window size. Pure."""

from __future__ import annotations

from gputrain.tui.layout.panel_layout import Place, Row, stack
from gputrain.tui.layout.smallest_window import SMALLEST

_LIST = 10
"""Rows reserved for processes before GPUs get rows for details."""


def arrange_monitor(width: int, height: int, gpus: int = 0, full: str = "") -> dict[str, Place]:
    """Places of the panels by name; empty if the window is too small. The panel `full` gets the whole body."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return {}
    body = height - 2
    rows: list[Row]
    if full:
        rows = [(body, [(full, 1.0)])]
    elif width >= 100 and body >= 28:
        rows = _wide(width, body, gpus)
    else:
        rows = _column(body, gpus)
    return stack(rows, width, height)


def _wide(width: int, body: int, gpus: int) -> list[Row]:
    # Four rows per GPU if machine panels and process list still fit, with details and history if there is room;
    # otherwise one line per GPU.
    blocks = 2 + 4 * gpus
    machine = (13 if gpus else 18) if body >= 40 else 9
    most = body - machine - 5
    wanted = (blocks if blocks <= most else 2 + gpus) if gpus else 4
    more = (6 if gpus and wanted + 6 <= most else 0) + (4 * gpus if wanted + 4 * gpus + 6 <= most - _LIST else 0)
    gpu = min(most, wanted + more)
    rest = body - gpu - machine
    return [
        (gpu, [("gpu", 1)]),
        (machine, [("cpu", 1), ("ram", 1), ("disk", 1)]),
        (rest, [("processes", 1)]),
    ]


def _column(body: int, gpus: int) -> list[Row]:
    machine = min(body - 4, 2 + max(1, gpus) + 1)
    rest = body - machine
    if rest >= 12:
        return [(machine, [("machine", 1)]), (8, [("cpu", 1), ("ram", 1), ("disk", 1)]), (rest - 8, [("processes", 1)])]
    return [(machine, [("machine", 1)]), (rest, [("processes", 1)])]
