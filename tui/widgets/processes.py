"""Processes: the run's own, others that compute, and those that hold memory of a GPU, whoever's they are."""

from __future__ import annotations

from gputrain.engine.events import GpuProcess, HardwareSample, ProcessSample
from gputrain.engine.text import plain
from gputrain.tui import format as words
from gputrain.tui.lines import Line, cut, line, pad, right, width
from gputrain.tui.snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

_STATES = {"D": "waits for a disk", "Z": "has ended", "T": "is stopped"}
"""Letters of ps that mean trouble, in words."""


def gpu_process_lines(where: str, processes: tuple[GpuProcess, ...], columns: int) -> list[Line]:
    """A line for each process on a GPU: where, memory, whose, pid, command. Foreign ones stand out by a word."""
    drawn: list[Line] = []
    for process in sorted(processes, key=lambda one: -(one.memory or 0)):
        owner = "ours" if process.ours else "hidden" if process.hidden else plain(process.user, 12) or "?"
        name = "in another container or namespace" if process.hidden else plain(process.name, 200) or "?"
        room = max(0, columns - len(where) - 32)
        drawn.append(
            line(
                (f"{where} ", "title"),
                (right(words.size(process.memory), 9), "bright"),
                (f" {pad(owner, 12)}", "good" if process.ours else "warn"),
                (f" {right(str(process.pid), 7)} ", "dim"),
                cut(name, room),
            )
        )
    return drawn


def on_gpus(sample: HardwareSample, columns: int) -> list[Line]:
    """All processes on all GPUs and MIG instances."""
    drawn: list[Line] = []
    for gpu in sample.gpus:
        drawn += gpu_process_lines(f"{gpu.index}", gpu.processes, columns)
        for number, instance in enumerate(gpu.instances):
            drawn += gpu_process_lines(f"{gpu.index}.{number}", instance.processes, columns)
    return drawn


def own_line(process: ProcessSample, columns: int, roles: bool = False) -> Line:
    """One of the run's own processes; `roles`: with what it does in the run."""
    state = _STATES.get(process.state, "")
    threads = process.threads is not None and columns >= (80 if roles else 48)
    spans: Line = (
        (f"{right(str(process.pid), 7)} ", "dim"),
        (pad(plain(process.role, 11), 12) if roles else "", "good"),
        (right(words.rate(process.cpu), 5), "bright"),
        (" cores ", "dim"),
        (right(words.size(process.rss), 9), "bright"),
        (right(f"{process.threads} thr ", 9) if threads else "  ", "dim"),
    )
    tail: Line = ((f" {state}", "warn"),) if state else ()
    return line(*spans, cut(plain(process.name, 200), max(0, columns - width(spans) - width(tail))), *tail)


def _other_line(process: ProcessSample, columns: int) -> Line:
    """One that is not the run's: cores, memory, whose, pid, command."""
    return line(
        (right(words.rate(process.cpu), 5), "bright"),
        (" cores ", "dim"),
        (right(words.size(process.rss), 9), "bright"),
        (f" {pad(plain(process.user, 12) or '?', 12)}", "warn"),
        (f" {right(str(process.pid), 7)} ", "dim"),
        cut(plain(process.name, 200) or "?", max(0, columns - 43)),
    )


def draw_processes(view: View, columns: int, rows: int) -> list[Line]:
    """The run's own, those that use most CPU on top, then others that compute, then those on the GPUs.

    What does not fit is counted.
    """
    sample = view.now.hardware
    if sample is None:
        return [line(("no sample of the machine yet", "dim"))]
    roles = any(process.role for process in sample.processes)
    drawn = [own_line(process, columns, roles) for process in sample.processes]
    if sample.others:
        drawn.append(line(("others that compute" if drawn else "on the cores", "title")))
        drawn += [_other_line(process, columns) for process in sample.others]
    on_any = on_gpus(sample, columns)
    if drawn and on_any:
        drawn.append(line(("on GPUs", "title")))
    drawn += on_any
    if not drawn:
        return [line(("nobody computes" if not sample.gpus else "nobody computes or holds memory of a GPU", "dim"))]
    if len(drawn) > rows:
        hidden = len(drawn) - rows + 1
        drawn = [*drawn[: rows - 1], line((f"and {hidden} more: f shows all", "dim"))]
    return drawn


class ProcessesPanel(Panel):
    """Who uses the cores and the GPUs."""

    TITLE = "Processes"

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample."""
        return (now.hardware,)

    def title(self, view: View) -> str:
        """Whose they are."""
        return f"Processes of {plain(view.subject, 40)}" if view.subject else "Processes"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """The lists."""
        return draw_processes(view, columns, rows)
