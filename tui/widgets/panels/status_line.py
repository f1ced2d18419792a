"""The status line of the dashboard: run, phase, progress, throughput and ETA."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import Outcome, Phase
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, Span, bar, cut, fit, line, pad, right, width
from gputrain.tui.render.theme import Role
from gputrain.tui.state import script_values
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

_OUTCOMES: dict[Outcome, tuple[str, Role]] = {
    Outcome.FINISHED: ("■ finished", "good"),
    Outcome.STOPPED: ("■ stopped", "warn"),
    Outcome.FAILED: ("■ failed", "bad"),
    Outcome.KILLED: ("■ killed", "bad"),
}
DIED = "the supervisor of this run died"


def state(view: View) -> Span:
    """The phase of the run, as sign and text."""
    now = view.now
    if now.outcome is not None:
        return _OUTCOMES[now.outcome.outcome]
    if view.error:
        return f"■ {plain(view.error, 200)}", "bad"
    if view.trouble:
        return f"○ {fmt.no_events(plain(view.trouble, 120))}", "warn"
    if not view.caught_up:
        return f"○ reading the record, {fmt.whole(now.seq)} events", "text"
    if not view.live:
        return f"■ {DIED}", "bad"
    if now.is_script and now.phase.phase is Phase.STARTING:
        return "○ running, no step seen yet", "text"
    if now.phase.phase in (Phase.PAUSED, Phase.STOPPING):
        return f"‖ {now.phase.phase}", "warn"
    return f"{'●' if now.phase.phase is Phase.TRAINING else '○'} {now.phase.phase}", "good"


def fraction(now: Snapshot) -> float | None:
    """Progress of the run; before the first step, of the phase. Of a user's own script that of the epoch."""
    if now.is_script:
        return script_values.epoch_fraction(now)
    if now.steps is None or now.phase.phase is Phase.DRAWING_DATA:
        return now.phase_fraction
    return now.run_fraction


def progress_words(now: Snapshot) -> str:
    """Progress as text, in steps or in the unit of the phase."""
    if now.is_script and now.steps is not None:
        return script_values.progress(now)
    if now.steps is not None and now.model is not None:
        total = fmt.whole(now.model.total_steps)
        return f"step {right(fmt.whole(now.step), len(total))}/{total}"
    phase = now.phase
    if phase.done is not None and phase.total:
        return f"{fmt.whole(phase.done)}/{fmt.whole(phase.total)} {phase.unit}".rstrip()
    spent = f"for {fmt.duration(now.elapsed - phase.since)}" if now.outcome is None else ""
    return f"{spent}  {plain(phase.detail, 60)}".strip()


def eta(now: Snapshot) -> float | None:
    """Seconds to the end of the run; before the first step, to the end of the phase."""
    return now.eta_run if now.steps is not None else now.phase_left


def epoch_words(now: Snapshot) -> str:
    """``epoch 3/50``, empty before the first step, and where a user's own script reads no DataLoader."""
    if now.is_script:
        return script_values.epoch_words(now)
    if now.steps is None:
        return ""
    epoch = str(now.steps.epoch + 1)
    return f"epoch {right(epoch, len(str(now.epochs)))}/{now.epochs}" if now.epochs else f"epoch {epoch}"


def name(now: Snapshot) -> str:
    """The name of the run, or of its recipe."""
    return plain(str(now.settings.get("name") or now.settings.get("recipe") or ""), 60) or "run"


def draw_status(view: View, columns: int) -> Line:
    """The status in one line; the least important fields are dropped if it is narrow."""
    now = view.now
    sign, role = state(view)
    done, left = fraction(now), eta(now)
    percent: Line = ((f"{right(fmt.share(done), 5)}", "bright"),) if done is not None else ()
    profile = " ".join(plain(str(now.settings.get(key) or ""), 40) for key in ("profile", "preset")).strip()
    # Most important first; the last ones are dropped if the line is too narrow.
    fields: list[Line] = [
        line((f" {cut(name(now), max(12, min(28, columns // 5)))}", "title")),
        line((sign, role)),
        line(("view paused", "warn")) if view.paused else (),
        line(epoch_words(now)) if now.steps else (),
        percent,
        line((f"{right(fmt.rate(now.images_per_second), 6)} {now.rate_unit}", "bright")) if now.steps else (),
        line(f"ETA {pad(fmt.duration(left), 11)}")
        if left is not None and now.outcome is None and not view.died
        else (),
        line(progress_words(now)),
        line((profile, "dim")),
    ]
    keep = [field for field in fields if width(field)]
    while len(keep) > 2 and sum(width(field) + 2 for field in keep) > columns:
        keep.pop()
    room = min(44, columns - sum(width(field) + 2 for field in keep)) - 4
    joined: list[Span] = []
    for field in keep:
        if field is percent and room >= 4:
            joined += [("▕", "dim"), *bar(done, room, "data"), ("▏", "dim")]
        joined += [*field, ("  ", "text")]
    return fit(tuple(joined), columns)


class StatusPanel(Panel, can_focus=False):
    """One line without a frame."""

    FRAME = False

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the status."""
        return [draw_status(view, columns)]
