"""What a trace shows, as text: shares of the time and the ten most expensive operators with a bar each."""

from __future__ import annotations

import shlex

from rich.text import Text

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import SyncPoint, Traced, TraceSummary
from gputrain.tui.render import format as fmt

_BAR = 30
_NAME = 48


def trace_line(event: Traced) -> str:
    """One line for logs."""
    if event.summary is None:
        return f"trace {event.verdict}: {plain(event.text, 300)}".rstrip(": ")
    parts = ", ".join(f"{name} {fmt.share(share)}" for name, share in _shares(event.summary))
    return f"trace of {_steps(event.steps)}: {parts}"


def trace_text(event: Traced, host: str = "") -> Text:
    """The whole result; of a trace that failed, why. `host`: the machine that the trace lies on, if not this one."""
    if event.summary is None:
        return Text(trace_line(event))
    found = event.summary
    each = found.seconds / found.steps if found.steps else 0.0
    text = Text(f"{_steps(event.steps)} in {found.seconds:.3f} s ({1000 * each:.1f} ms each, with the recording)\n")
    if event.text:
        text.append(f"{plain(event.text, 300)}\n", style="bold")
    text.append(f"\n{'GPU' if found.on_gpu else 'CPU'} time\n", style="bold")
    for name, share in _shares(found):
        text.append_text(_row(name, share, ""))
    text.append(f"\noperators by {'GPU' if found.on_gpu else 'CPU'} time\n", style="bold")
    for one in found.operators:
        calls = f"{1000 * one.seconds:10.2f} ms  {fmt.whole(one.calls):>6} ×"
        text.append_text(_row(plain(one.name, _NAME), one.share, calls))
    text.append_text(_work(found))
    text.append(f"\nChrome trace, {fmt.size(event.size)}: {plain(event.file, 300)}\n", style="dim")
    text.append(f"open it: {open_command(event.file, host)}")
    return text


def open_command(file: str, host: str = "") -> str:
    """How to look at a trace: Perfetto and Chrome's own viewer read the compressed file."""
    fetch = f"scp {plain(shlex.quote(f'{host}:{file}'), 400)} . && " if host else ""
    return f"{fetch}xdg-open https://ui.perfetto.dev (or chrome://tracing), and load the file there"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _shares(found: TraceSummary) -> list[tuple[str, float]]:
    names = ("kernels", "copies", "gaps", "data") if found.on_gpu else ("operators", "copies", "Python", "data")
    return list(zip(names, (found.kernels, found.copies, found.gaps, found.data), strict=True))


def _row(name: str, share: float, figures: str) -> Text:
    bar = "█" * round(_BAR * min(1.0, max(0.0, share)))
    text = Text(f"  {name:<{_NAME}} ")
    text.append(f"{bar:<{_BAR}}", style="bold").append(f" {100 * share:5.1f} %{figures}\n")
    return text


def _work(found: TraceSummary) -> Text:
    """Number and length of the kernels, and the lines that make the host wait."""
    text = Text()
    if found.mean_kernel is not None:
        per_step = found.launches / max(1, found.steps)
        kind = "kernels" if found.on_gpu else "operators that call no other one"
        text.append(f"\n{per_step:.0f} {kind} in a step, {1e6 * found.mean_kernel:.1f} µs on average\n")
    if found.on_gpu:
        text.append(
            f"gaps: {100 * found.gaps_sync:.1f} % after a synchronisation, {100 * found.gaps_host:.1f} % because the "
            "host had not launched the next kernel\n"
        )
    if found.sync_points:
        title = "lines that wait for the GPU" if found.on_gpu else "lines that would wait for a GPU (free on a CPU)"
        text.append(f"\n{title}\n", style="bold")
    for one in found.sync_points:
        text.append(f"  {sync_words(one)}\n")
    return text


def sync_words(one: SyncPoint) -> str:
    """A synchronisation point in words."""
    idle = f", then {1000 * one.idle:.2f} ms without work" if one.idle else ""
    where = plain(one.line, 200) or "unknown line"
    return f"{where} {plain(one.call, 60)}: {fmt.whole(one.count)} ×, {1000 * one.seconds:.2f} ms{idle}"
