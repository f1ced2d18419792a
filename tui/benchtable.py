"""A benchmark's result as lines with bars, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gputrain.engine.benching import Speed
from gputrain.engine.text import plain
from gputrain.tui import format as words

_BAR = 24
"""Characters of the longest bar."""


class Row(Struct, frozen=True, kw_only=True):
    """One rung: its speed, or why it has none."""

    name: str
    settings: dict[str, str]
    """What it sets otherwise than the rung before it, by name."""
    speed: Speed | None
    error: str = ""


class Bench(Struct, frozen=True, kw_only=True):
    """A whole benchmark."""

    recipe: str
    machine: str
    device: str
    batch_size: int
    image_size: int
    steps: int
    rows: tuple[Row, ...]


def speed_up(row: Row, rows: Sequence[Row]) -> float | None:
    """Times the rate of the first row."""
    first = rows[0].speed if rows else None
    return row.speed.images_per_second / first.images_per_second if row.speed and first else None


HEADER = ("", "img/s", "GPU", "waits", "speed-up", "peak memory", "")


def cells(row: Row, rows: Sequence[Row], ascii_only: bool) -> tuple[str, ...]:
    """A row's columns as in `HEADER`."""
    speed, times = row.speed, speed_up(row, rows)
    if speed is None:
        return (row.name, words.MISSING, "", "", "", "", plain(row.error, 200))
    fastest = max((other.speed.images_per_second for other in rows if other.speed), default=1.0)
    bar = max(1, round(_BAR * speed.images_per_second / fastest)) * ("#" if ascii_only else "█")
    return (
        row.name,
        words.rate(speed.images_per_second),
        f"{speed.gpu_percent:.0f} %" if speed.gpu_percent is not None else words.MISSING,
        words.share(speed.wait_share),
        f"{times:.2f} ×" if times is not None else words.MISSING,
        words.size(speed.peak_bytes),
        bar,
    )


def settings_words(row: Row) -> str:
    """``num_workers 2, pin_memory true``."""
    return ", ".join(f"{name} {value}" for name, value in row.settings.items())


def title(bench: Bench) -> str:
    """What was measured, in one line."""
    size = f"batches of {bench.batch_size} images of {bench.image_size}×{bench.image_size}"
    return f"{bench.recipe} on {bench.device}, {size}, {bench.steps} steps each"


def markdown(bench: Bench) -> str:
    """The table for documents, with the settings of each rung."""
    lines = [
        f"{title(bench)} ({bench.machine})",
        "",
        "| rung | img/s | GPU | waits for data | speed-up | peak memory | settings |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in bench.rows:
        name, rate, gpu, waits, times, memory, _ = cells(row, bench.rows, ascii_only=True)
        said = row.error or settings_words(row)
        columns = (name, rate, gpu, waits, times, memory, plain(said, 200).replace("|", "\\|"))
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"
