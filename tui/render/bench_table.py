"""Formats the result of a bench as table cells with bars, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from gputrain.engine.common.sanitize import plain
from gputrain.engine.jobs.bench_job import Speed
from gputrain.engine.planning.plan_summary import CROWDED
from gputrain.profiles.schema import ReferenceLadder
from gputrain.tui.render import format as fmt

BAR = 24
"""Length of the longest bar in cells."""


class Row(Struct, frozen=True, kw_only=True):
    """One stage: its speed, or why there is none."""

    name: str
    key: str = ""
    """Its name in `Bench.references`."""
    settings: dict[str, str]
    """Settings that differ from the previous stage, by name."""
    speed: Speed | None
    """None: not measured yet, or skipped."""
    rounds: tuple[float, ...] = ()
    """Images per second of each round."""
    error: str = ""


class Bench(Struct, frozen=True, kw_only=True):
    """A whole bench."""

    recipe: str
    machine: str
    device: str
    usable_cores: float
    batch_size: int
    image_size: int
    steps: int
    """Steps of each round."""
    rounds: int
    rows: tuple[Row, ...]
    references: Mapping[str, ReferenceLadder] = {}
    """Published speed-ups of the stages, by hardware profile."""


def speed_up(row: Row, rows: Sequence[Row]) -> float | None:
    """Speed relative to the first row."""
    return _times(row, rows[0]) if rows else None


def gain(row: Row, rows: Sequence[Row]) -> float | None:
    """Speed relative to the previous measured stage; None if the row is not a single added optimization."""
    below = [other for other in rows[: rows.index(row)] if other.speed]
    return _times(row, below[-1]) if below and row.name.startswith("+") else None


def _times(row: Row, other: Row) -> float | None:
    return row.speed.images_per_second / other.speed.images_per_second if row.speed and other.speed else None


def header(bench: Bench) -> tuple[str, ...]:
    """The names of the columns of `cells`."""
    elsewhere = (plain(name, 30) for name in bench.references)
    return ("", "img/s", "±", "GPU", "waits", "speed-up", "gain", "peak memory", *elsewhere, "")


def cells(row: Row, bench: Bench, ascii_only: bool) -> tuple[str, ...]:
    """A row's columns as in `header`."""
    speed = row.speed
    elsewhere = tuple(_elsewhere(reference, row.key) for reference in bench.references.values())
    if speed is None:
        return (row.name, fmt.MISSING, "", "", "", "", "", "", *elsewhere, plain(row.error, 200))
    fastest = max((other.speed.images_per_second for other in bench.rows if other.speed), default=1.0)
    bar = max(1, round(BAR * speed.images_per_second / fastest)) * ("#" if ascii_only else "█")
    return (
        row.name,
        fmt.rate(speed.images_per_second),
        fmt.share(speed.spread / speed.images_per_second),
        f"{speed.gpu_percent:.0f} %" if speed.gpu_percent is not None else fmt.MISSING,
        fmt.share(speed.wait_share),
        _times_text(speed_up(row, bench.rows)) or fmt.MISSING,
        _gain_text(gain(row, bench.rows)),
        fmt.size(speed.peak_bytes),
        *elsewhere,
        bar,
    )


def _elsewhere(reference: ReferenceLadder, stage: str) -> str:
    return _times_text(reference.times(stage)) or _gain_text(reference.gain(stage))


def _times_text(times: float | None) -> str:
    return f"{times:.2f} ×" if times is not None else ""


def _gain_text(times: float | None) -> str:
    return f"{times - 1:+.0%}".replace("%", " %") if times is not None else ""


def remarks(bench: Bench) -> Iterator[str]:
    """The total speed-up compared with published ones, and caveats of the measurement."""
    whole = [row for row in bench.rows if row.name in ("all", "the plan") and row.speed]
    if whole and (here := speed_up(whole[0], bench.rows)) is not None:
        for name, reference in bench.references.items():
            if there := reference.speed_up:
                yield plain(
                    f"{whole[0].name}: {here:.2f} × the default here, {there:g} × on {name} ({reference.source}): "
                    f"{here / there:.2f} of it",
                    300,
                )
    others = max((row.speed.others for row in bench.rows if row.speed and row.speed.others is not None), default=0.0)
    if others > CROWDED * bench.usable_cores:
        yield (
            f"other programs used up to {others:.1f} of {bench.usable_cores:g} cores during the measurement: "
            "measure again without them"
        )
    for row in bench.rows:
        if row.speed and row.speed.note:
            yield plain(f"{row.name}: {row.speed.note}", 300)


def settings_words(row: Row) -> str:
    """``num_workers 2, pin_memory true``."""
    return ", ".join(f"{name} {value}" for name, value in row.settings.items())


def title(bench: Bench) -> str:
    """Recipe, device, batch and steps in one line."""
    size = f"batches of {bench.batch_size} images of {bench.image_size}×{bench.image_size}"
    steps = f"{bench.steps} steps each" if bench.rounds == 1 else f"{bench.rounds} rounds of {bench.steps} steps each"
    return f"{bench.recipe} on {bench.device}, {size}, {steps}"


def markdown(bench: Bench) -> str:
    """The table as Markdown, with the settings of each stage."""
    elsewhere = [plain(name, 30) for name in bench.references]
    heads = ("stage", "img/s", "±", "GPU", "waits for data", "speed-up", "gain", "peak memory", *elsewhere, "settings")
    lines = [
        f"{title(bench)} ({bench.machine})",
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 2)}---|",
    ]
    for row in bench.rows:
        columns = cells(row, bench, ascii_only=True)[:-1]
        remark = plain(row.error or settings_words(row), 200).replace("|", "\\|")
        lines.append("| " + " | ".join((*columns, remark)) + " |")
    notes = list(remarks(bench))
    return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)]) + "\n"
