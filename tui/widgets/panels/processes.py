"""The processes panel: processes of the run, other busy processes, and all processes with GPU memory."""

from __future__ import annotations

from msgspec.structs import replace

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import GpuProcess, HardwareSample, ProcessSample
from gputrain.tui.render import format as fmt
from gputrain.tui.render.styled_lines import Line, cut, line, pad, right, width
from gputrain.tui.state.run_snapshot import Snapshot
from gputrain.tui.widgets.panel import Panel, View

_STATES = {"D": "waits for disk", "Z": "zombie", "T": "stopped"}
"""Process states (letters of ps) that are shown."""


def gpu_process_lines(where: str, processes: tuple[GpuProcess, ...], columns: int) -> list[Line]:
    """A line per process on a GPU: GPU, memory, owner, pid, command."""
    drawn: list[Line] = []
    for process in sorted(processes, key=lambda one: -(one.memory or 0)):
        owner = "ours" if process.ours else "hidden" if process.hidden else plain(process.user, 12) or "?"
        name = "in another container or namespace" if process.hidden else plain(process.name, 200) or "?"
        room = max(0, columns - len(where) - 32)
        drawn.append(
            line(
                (f"{where} ", "title"),
                (right(fmt.size(process.memory), 9), "bright"),
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
    """A process of the run; `roles`: with its role in the run."""
    state = _STATES.get(process.state, "")
    threads = process.threads is not None and columns >= (80 if roles else 48)
    spans: Line = (
        (f"{right(str(process.pid), 7)} ", "dim"),
        (pad(plain(process.role, 11), 12) if roles else "", "good"),
        (right(fmt.rate(process.cpu), 5), "bright"),
        (" cores ", "dim"),
        (right(fmt.size(process.rss), 9), "bright"),
        (right(f"{process.threads} thr ", 9) if threads else "  ", "dim"),
    )
    tail: Line = ((f" {state}", "warn"),) if state else ()
    return line(*spans, cut(plain(process.name, 200), max(0, columns - width(spans) - width(tail))), *tail)


def _other_line(process: ProcessSample, columns: int) -> Line:
    """A process outside of the run: cores, memory, user, pid, command."""
    return line(
        (right(fmt.rate(process.cpu), 5), "bright"),
        (" cores ", "dim"),
        (right(fmt.size(process.rss), 9), "bright"),
        (f" {pad(plain(process.user, 12) or '?', 12)}", "warn"),
        (f" {right(str(process.pid), 7)} ", "dim"),
        cut(plain(process.name, 200) or "?", max(0, columns - 43)),
    )


def draw_processes(view: View, columns: int, rows: int) -> list[Line]:
    """Processes of the run, then others, then those on GPUs; the last line counts those that do not fit.

    Each list starts with the processes that use most CPU (or memory).
    """
    sample = view.now.hardware
    if sample is None:
        return [line(("no machine sample yet", "dim"))]
    own, others = _sorted(sample.processes, view), _sorted(sample.other_processes, view)
    roles = any(process.role for process in own)
    rows_of = [
        ("", [own_line(process, columns, roles) for process in own]),
        ("others by memory" if view.by_memory else "others by CPU", [_other_line(one, columns) for one in others]),
        ("on GPUs", on_gpus(sample, columns)),
    ]
    drawn: list[Line] = []
    for heading, found in rows_of:
        kept = [row for row in found if _contains(row, view.search)]
        if kept:
            # If only GPU processes are listed, they need no heading: their GPU index shows what they are.
            drawn += [line((heading, "title")), *kept] if heading and (drawn or heading != "on GPUs") else kept
    if not drawn:
        nobody = "no busy processes" if not sample.gpus else "no busy processes and none with GPU memory"
        return [line((f"no process contains “{plain(view.search, 40)}”" if view.search else nobody, "dim"))]
    if len(drawn) > rows:
        hidden = len(drawn) - rows + 1
        drawn = [*drawn[: rows - 1], line((f"and {hidden} more: f shows all", "dim"))]
    return drawn


def _sorted(processes: tuple[ProcessSample, ...], view: View) -> list[ProcessSample]:
    """Sorted by memory if the user chose that; samples are sorted by CPU."""
    return sorted(processes, key=lambda one: -(one.rss or 0)) if view.by_memory else list(processes)


def _contains(row: Line, wanted: str) -> bool:
    return wanted.casefold() in "".join(text for text, _ in row).casefold()


class ProcessesPanel(Panel):
    """Processes that use CPU or GPUs."""

    TITLE = "Processes"

    def __init__(self, *, searched: bool = False, id: str) -> None:  # noqa: A002 - Textual's name for it
        """`searched`: apply the search of the view to processes."""
        super().__init__(id=id)
        self._searched = searched

    def parts(self, now: Snapshot) -> tuple[object, ...]:
        """The newest sample."""
        return (now.hardware,)

    def title(self, view: View) -> str:
        """The title with the observed process tree."""
        return f"Processes of {plain(view.subject, 40)}" if view.subject else "Processes"

    def draw(self, view: View, columns: int, rows: int) -> list[Line]:
        """Draw the lists."""
        return draw_processes(view if self._searched else replace(view, search=""), columns, rows)
