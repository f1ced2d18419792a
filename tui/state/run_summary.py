"""The summary of a run, for its end and for ``--json``. Pure."""

from __future__ import annotations

from msgspec import Struct

from gputrain.engine.common.units import Unit, per_second
from gputrain.engine.events import Outcome, Tuned
from gputrain.engine.events.speed_forecast import LIMITERS, SpeedForecast
from gputrain.tui.render import format as fmt
from gputrain.tui.render.advice_text import verdict
from gputrain.tui.state import run_energy
from gputrain.tui.state.run_snapshot import Snapshot


class Summary(Struct, frozen=True, kw_only=True):
    """The results of a run. Times in seconds, sizes in bytes, shares 0…1; None if not measured."""

    run: str
    outcome: Outcome | None
    """None if it has not ended, or its supervisor died."""
    reason: str
    step: int
    total_steps: int | None
    epochs_done: int
    epochs: int | None
    metric: str
    best: float | None
    best_epoch: int | None
    """From 0."""
    loss: float | None
    seconds: float
    images: int
    """Images trained in this run, without those of the run it resumed from; of a script what `unit` names."""
    images_per_second: float | None
    """Mean over all steps."""
    unit: Unit
    """What the two above count."""
    forecast: SpeedForecast | None
    """The forecast of the plan from a calibration; None without one."""
    data_wait_share: float | None
    first_batch_share: float | None
    """The part of `data_wait_share` spent on the first batch of each epoch."""
    copy_share: float | None
    compute_share: float | None
    exchange_share: float | None
    """Waiting for the gradients of other ranks; None with a single process."""
    other_share: float | None
    peak_vram: int | None
    mean_watts: float | None
    joules: float | None
    """Energy of the GPUs."""
    cpu_joules: float | None
    """Energy of the CPU packages."""
    joules_per_image: float | None
    """Energy of the GPUs, and of the CPU where it is known, per image (or what `unit` names)."""
    cost: float | None
    """By `cost_per_hour` and `price_per_kwh`, in their currency; None without them."""
    throttled: dict[str, float]
    """Throttle reason → seconds."""
    tried: tuple[Tuned, ...]
    """The newest 20 live changes of settings that were kept or reverted, with their effect."""
    checkpoints: int
    bad_images: int
    image_sizes: tuple[int, int] | None
    """Side length of the first and of the last training images in pixels."""
    estimated: bool
    """A long record was read in part: sums over the run are estimates."""
    lost_events: int
    dropped_windows: int
    error: str
    script: bool = False
    """A script of the user's own ran: validations and checkpoints are its own."""
    wait_unknown: bool = False
    """The script read no DataLoader: where the time of its steps went is unknown."""


def summary(now: Snapshot) -> Summary:
    """The summary of the run that `now` shows."""
    totals, best = now.totals, now.best
    ended = now.outcome
    # On a GPU copies overlap compute: the parts may sum to more than the elapsed time.
    parts = totals.data_wait + (totals.copy or 0.0) + totals.compute + (totals.exchange or 0.0) + totals.other
    seconds = max(totals.step_seconds, parts)

    def share(part: float | None) -> float | None:
        return part / seconds if part is not None and seconds > 0 and not totals.wait_unknown else None

    return Summary(
        run=now.started.run_id if now.started else "",
        outcome=ended.outcome if ended else None,
        reason=ended.reason if ended else "",
        step=max(now.step, ended.step if ended else 0),
        total_steps=now.model.total_steps if now.model else None,
        epochs_done=_epochs_done(now),
        epochs=now.epochs,
        metric=best.metric if best else "",
        best=best.metrics.get(best.metric) if best else None,
        best_epoch=best.epoch if best else None,
        loss=now.loss,
        seconds=now.elapsed,
        images=round(totals.images),
        images_per_second=totals.images / totals.step_seconds if totals.step_seconds > 0 else None,
        unit=now.unit,
        forecast=now.started.forecast if now.started else None,
        data_wait_share=share(totals.data_wait if totals.steps else None),
        first_batch_share=share(totals.first_batch_wait if totals.steps else None),
        copy_share=share(totals.copy),
        compute_share=share(totals.compute if totals.steps else None),
        exchange_share=share(totals.exchange),
        other_share=share(totals.other if totals.steps else None),
        peak_vram=totals.peak_vram,
        mean_watts=totals.joules / totals.power_seconds if totals.joules is not None and totals.power_seconds else None,
        joules=totals.joules,
        cpu_joules=totals.cpu_joules,
        joules_per_image=run_energy.per_image(totals),
        cost=run_energy.cost(now),
        throttled=totals.throttled,
        tried=now.tried,
        checkpoints=now.checkpoint_count,
        bad_images=totals.bad_images,
        image_sizes=totals.image_sizes,
        estimated=totals.estimated,
        lost_events=totals.lost,
        dropped_windows=totals.dropped,
        script=now.is_script,
        wait_unknown=totals.wait_unknown,
        error=ended.error if ended else "",
    )


def _epochs_done(now: Snapshot) -> int:
    if now.steps is None:
        return 0
    if now.is_script:
        loader = now.loader_found
        done = loader is not None and loader.batches is not None and now.steps.epoch_step >= loader.batches
        return now.steps.epoch + (1 if done else 0)
    whole = now.data is not None and now.steps.epoch_step >= now.data.batches_per_epoch
    return now.steps.epoch + (1 if whole else 0)


def summary_rows(result: Summary, directory: str) -> list[tuple[str, str]]:
    """The summary as titles and values, for screens and plain output."""
    of = f" of {fmt.whole(result.total_steps)}" if result.total_steps else ""
    epochs = f"{result.epochs_done} of {result.epochs}" if result.epochs else f"{result.epochs_done}"
    rate = fmt.rate(result.images_per_second)
    rows = [
        ("outcome", result.outcome.value if result.outcome else "unknown"),
        ("reason", result.reason or fmt.MISSING),
        ("steps", f"{fmt.whole(result.step)}{of}, epochs {epochs}"),
        ("time", fmt.duration(result.seconds)),
        ("throughput", f"{rate} {per_second(result.unit)} mean, {fmt.whole(result.images)} {result.unit}"),
        ("best", _best(result)),
        ("time went to", _time_split(result)),
        ("peak VRAM", fmt.size(result.peak_vram) if result.peak_vram is not None else "no GPU used"),
        ("energy", _energy(result)),
        *([("cost", f"{result.cost:,.2f}")] if result.cost is not None else []),
        ("throttled", _throttled(result)),
        ("checkpoints", fmt.whole(result.checkpoints)),
    ]
    if result.script:
        rows = [row for row in rows if row[0] not in ("best", "checkpoints")]
        epochs = f", epochs {epochs}" if result.epochs_done else ""
        rows[2] = ("steps", f"{fmt.whole(result.step)}{epochs}" if result.step else "none seen")
        if not result.step:
            rows = [row for row in rows if row[0] not in ("throughput", "time went to")]
    if result.forecast is not None:
        rows.insert(5, ("predicted", _predicted(result.forecast, result.images_per_second)))
    rows += [("tuned" if not number else "", verdict(one)) for number, one in enumerate(result.tried)]
    if result.error:
        rows.insert(2, ("error", result.error))
    if result.bad_images:
        found = f"{fmt.whole(result.bad_images)} unreadable, replaced; listed in bad_images.csv"
        rows.append(("bad images", found))
    if result.image_sizes is not None and result.image_sizes[0] != result.image_sizes[1]:
        rows.append(("image size", "training images grew from {} to {} pixels".format(*result.image_sizes)))
    if result.lost_events or result.dropped_windows:
        lost = f"{fmt.whole(result.lost_events)} events, {fmt.whole(result.dropped_windows)} step windows"
        rows.append(("not recorded", lost))
    if result.estimated:
        rows.append(("estimated", "sums over the run: only parts of the long record were read; tail --plain reads all"))
    return [*rows, ("run directory", directory)]


def _predicted(forecast: SpeedForecast, measured: float | None) -> str:
    text = f"{fmt.rate(forecast.low)} to {fmt.rate(forecast.high)} img/s, limited by {LIMITERS[forecast.limiter]}"
    if measured is None:
        return f"{text}; no step completed"
    off = measured / forecast.rate - 1
    if forecast.low <= measured <= forecast.high:
        return f"{text}; measured within this range ({off:+.0%} from its middle)"
    return f"{text}; measured {abs(off):.0%} {'above' if off > 0 else 'below'} the middle"


def _best(result: Summary) -> str:
    if result.best is None or result.best_epoch is None:
        return "not validated"
    return f"{result.metric} {fmt.metric(result.metric, result.best)} in epoch {result.best_epoch + 1}"


def _time_split(result: Summary) -> str:
    if result.wait_unknown:
        return "unknown: the loop reads no DataLoader itself"
    if result.compute_share is None:
        return "no step completed"
    wait = f"waiting for data {fmt.share(result.data_wait_share)}"
    if result.first_batch_share is not None and result.first_batch_share >= 0.005:
        wait += f" (first batch of each epoch {fmt.share(result.first_batch_share)})"
    copy = f", copies {fmt.share(result.copy_share)}" if result.copy_share is not None else ""
    if result.exchange_share is not None:
        copy += f", waiting for other ranks {fmt.share(result.exchange_share)}"
    return f"compute {fmt.share(result.compute_share)}, {wait}{copy}, other {fmt.share(result.other_share)}"


def _energy(result: Summary) -> str:
    known = []
    if result.joules is not None:
        known.append(f"{fmt.energy(result.joules)} by the GPUs, {fmt.watts(result.mean_watts)} mean")
    if result.cpu_joules is not None:
        known.append(f"{fmt.energy(result.cpu_joules)} by the CPU")
    if result.joules_per_image is not None:
        known.append(f"{fmt.figure(result.joules_per_image)} J per {result.unit.removesuffix('s')}")
    return "; ".join(known) or "not measured"


def _throttled(result: Summary) -> str:
    if result.joules is None and not result.throttled:
        return "not measured"
    named = ", ".join(f"{reason} {fmt.duration(seconds)}" for reason, seconds in result.throttled.items())
    return named or "never"
