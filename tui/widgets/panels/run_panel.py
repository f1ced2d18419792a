"""The run panel: results so far, model, device and settings of the run."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import global_batch
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, cut, pad
from gputrain.tui.state import script_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

_TITLE_CELLS = 10


def key_values(now: Snapshot) -> list[tuple[str, str]]:
    """Titles and values, most important first; unknown values are left out."""
    if now.is_script:
        found = [*script_values.key_values(now), ("trouble", _trouble(now))]
        return [(title, plain(value, 200)) for title, value in found if value]
    found = [
        ("loss", fmt.figure(now.loss) if now.loss is not None else ""),
        ("best", _best(now)),
        ("elapsed", fmt.duration(now.elapsed)),
        ("epoch in", fmt.duration(now.eta_epoch) if now.eta_epoch is not None else ""),
        ("model", _model(now)),
        ("device", _device(now)),
        ("batch", _batch(now)),
        ("loader", _loader(now)),
        ("lr", fmt.figure(now.steps.lr) if now.steps else ""),
        ("data", _data(now)),
        ("saved", _saved(now)),
        ("trouble", _trouble(now)),
        ("read", "long record read in part: sums are estimates" if now.totals.estimated else ""),
        ("run", now.started.run_id if now.started else ""),
    ]
    return [(title, plain(value, 200)) for title, value in found if value]


def _best(now: Snapshot) -> str:
    best = now.best
    if best is None:
        return ""
    return f"{best.metric} {fmt.metric(best.metric, best.metrics.get(best.metric))} in epoch {best.epoch + 1}"


def _model(now: Snapshot) -> str:
    if now.model is None:
        return str(now.settings.get("model", ""))
    count = now.model.parameters
    return f"{now.model.model}, {f'{count / 1e6:.1f} M' if count >= 1e5 else fmt.whole(count)} parameters"


def _device(now: Snapshot) -> str:
    model = now.model
    if model is None:
        return ""
    extras = [name for name, on in (("channels_last", model.channels_last), ("compiled", model.compiled)) if on]
    name = fmt.devices(model)
    return ", ".join([name, model.precision, *extras])


def _batch(now: Snapshot) -> str:
    size, steps = now.settings.get("batch_size"), now.settings.get("accumulation_steps", 1)
    ranks = global_batch.rank_count({"devices": 1, **now.settings})
    if size is None:
        return ""
    of_ranks = f" × {ranks} ranks" if ranks > 1 else ""
    accumulated = f" × {steps} accumulated" if steps not in (None, 1) else ""
    return f"{size}{of_ranks}{accumulated}"


def _loader(now: Snapshot) -> str:
    workers, ahead = now.settings.get("num_workers"), now.settings.get("prefetch_factor")
    if workers is None:
        return ""
    kind = f"{now.loader.kind} " if now.loader else ""
    count = f"{workers} {kind}worker{'s' if workers != 1 else ''}" if workers else "no workers"
    cache = now.settings.get("cache", "none")
    return f"{count}, {ahead} batches ahead" + (f", cache={cache}" if cache != "none" else "")


def _data(now: Snapshot) -> str:
    data = now.data
    if data is None:
        return ""
    counts = f"{fmt.whole(data.train_images)} + {fmt.whole(data.val_images)} images"
    return counts + (f", {data.class_count} classes" if data.class_count else "")


def _saved(now: Snapshot) -> str:
    if not now.checkpoints:
        return ""
    newest = now.checkpoints[-1]
    return f"step {fmt.whole(newest.step)}, {fmt.size(newest.bytes)} ({now.checkpoint_count} checkpoints)"


def _trouble(now: Snapshot) -> str:
    totals = now.totals
    counts = (
        (totals.bad_images, "unreadable images"),
        (totals.lost, "lost events"),
        (totals.dropped, "lost step windows"),
    )
    return ", ".join(f"{fmt.whole(count)} {what}" for count, what in counts if count)


def draw_run(now: Snapshot, columns: int, rows: int) -> list[Line]:
    """Draw the values in one or two columns."""
    values = key_values(now)
    across = 2 if len(values) > rows and columns >= 72 else 1
    each = columns // across
    down = min(rows, -(-len(values) // across))
    drawn: list[Line] = []
    for row in range(down):
        spans: list[Span] = []
        for title, value in values[row : across * down : down]:
            spans += [(pad(title, _TITLE_CELLS), "dim"), (pad(cut(value, each - 12), each - _TITLE_CELLS), "text")]
        drawn.append(tuple(spans))
    return drawn


class RunPanel(Panel):
    """Key values of the run."""

    TITLE = "Run"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the values."""
        return draw_run(view.now, columns, rows)
