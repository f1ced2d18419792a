"""Formats machine, profiles, recipes and verdict for the launcher. Pure."""

from __future__ import annotations

from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import size
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import Plan
from gputrain.profiles.catalog import Entry, Match
from gputrain.tui.render.styled_lines import Line, Span, line

LOOKING: Span = ("inspecting this machine…", "dim")
"""Shown until the machine is known."""
_PLANNING: Span = ("planning…", "dim")
STARTING: Span = ("○ starting…", "data")


def machine_line(machine: Machine | None) -> Line:
    """The first line: host, GPUs, cores, RAM."""
    if machine is None:
        return line((" gputrain-tui  ", "title"), LOOKING)
    sizes = [f"{plain(gpu.name, 60)}{f' {size(gpu.memory)}' if gpu.memory else ''}" for gpu in machine.gpus]
    return line(
        (" gputrain-tui  ", "title"),
        (f"{plain(machine.hostname, 40)}  ", "bright"),
        f"{', '.join(sizes) or machine.gpu_error or 'no GPU'}  ",
        f"{machine.usable_cores:g} usable cores  {size(machine.memory_limit)} RAM",
    )


def profile_lines(match: Match) -> list[Line]:
    """A profile in the list; a detected one with its reason on a second line."""
    name, title = plain(match.name, 60), plain(match.title, 120)
    if match.error:
        return [line(("■ ", "bad"), f"{name}: ", (plain(match.error, 300), "bad"))]
    own = " (yours)" if match.own else ""
    if not match.detected:
        return [line(f"  {title}{own}")]
    return [
        line(("● detected ", "good"), (f"{title}{own}", "bright")),
        line(f"  {plain(match.reason, 200)}"),
    ]


def recipe_line(entry: Entry) -> Line:
    """A recipe in the list."""
    if entry.error:
        return line(("■ ", "bad"), f"{plain(entry.name, 60)}: ", (plain(entry.error, 300), "bad"))
    return line(f"{plain(entry.title, 120)}{' (yours)' if entry.own else ''}")


OWN_COMMAND_LINE: Line = line("Your own command: any script, unedited")
"""The first row of the list of recipes."""
OWN_COMMAND_READY: Span = ("● your own command: press Enter to type it", "good")
OWN_COMMAND_TEXT: Span = (
    (
        "Start a training script of your own, unedited, and watch it: steps, throughput, data wait, what it logs, the "
        "machine, and hints that name the line of its DataLoader. Press Enter to type the command; the form shows what "
        "a start will do. Profile, preset and data folder belong to recipes: your script has its own settings. On the "
        "command line: gputrain-tui exec -- python my_train.py"
    ),
    "text",
)


def waiting_for(machine: Machine | None) -> Span:
    """Shown while there is no plan."""
    return _PLANNING if machine is not None else LOOKING


def verdict(plan: Plan | None, error: str, machine: Machine | None) -> Span:
    """Whether the plan can start, as text."""
    if error:
        return f"■ {error}", "bad"
    if plan is None:
        return waiting_for(machine)
    if plan.refuses:
        return f"■ cannot start: {plain(plan.refuses[0], 600)}", "bad"
    warnings = len(plan.warnings)
    status = f"with {warnings} warning{'s' if warnings > 1 else ''}" if warnings else "ready"
    return f"● {status}: press Enter to start", "warn" if warnings else "good"
