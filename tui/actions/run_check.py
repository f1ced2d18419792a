"""The system check together with the plan of a run, for the command and the screen."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gputrain.engine.check.findings import Line, no_problems
from gputrain.engine.check.system_check import CheckResult, OnLines, run_system_check
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import cache_home
from gputrain.engine.common.remote_urls import local_folder
from gputrain.engine.configuration.engine_choice import KERAS
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import Plan

_FACTS = ("images per update", "RAM", "VRAM", "speed", "largest batch", "time")
"""Facts of the plan that the check reports."""
_RECOMMENDED = ("batch_size", "num_workers", "prefetch_factor", "precision")


class Checked(Struct, frozen=True):
    """The result of a check."""

    works: bool
    """Whether a run of the chosen recipe works on this machine."""
    recommended: dict[str, str]
    """Settings of the plan, by name."""
    lines: tuple[Line, ...]
    examined: CheckResult


def check(machine: Machine, make_plan: Callable[[], Plan], *, speed: bool, tell: OnLines) -> Checked:
    """Check `machine` for the plan that `make_plan` returns. Calls `tell` with the findings as they come."""
    lines: list[Line] = []

    def report(found: list[Line]) -> None:
        lines.extend(found)
        tell(found)

    try:
        plan: Plan | None = make_plan()
        last = _run_lines(plan) if plan else []
    except BadInput as error:
        plan, last = None, [Line("run", "plan", str(error), "problem")]
    device = plan.config.device if plan else "auto"
    cpu_requested = plan is not None and device == "cpu" and "you" in (plan.origins["device"], plan.origins["profile"])
    examined = run_system_check(
        machine, data=_data_path(plan), device=device, cpu_requested=cpu_requested, speed=speed, on_lines=report
    )
    report(last)
    rows = {row.setting: row.value for row in plan.rows} if plan else {}
    recommended = {name: rows[name] for name in _RECOMMENDED if name in rows}
    return Checked(no_problems(lines), recommended, tuple(lines), examined)


def _data_path(plan: Plan | None) -> Path:
    """The folder of the images; without one, the folder where demo images and caches are written."""
    folder = plan.config.data.data_dir if plan else ""
    return local_folder(folder) if folder else cache_home()


def _run_lines(plan: Plan) -> list[Line]:
    """The findings about the plan."""
    rows = {row.setting: row for row in plan.rows}
    config = plan.config
    recommended = ", ".join(f"{name} {rows[name].value}" for name in _RECOMMENDED)
    lines = [
        Line("run", "chosen", f"recipe {config.recipe or 'none'}, profile {config.profile}, preset {config.preset}"),
        Line("run", "device", rows["device"].note or rows["device"].value),
        Line("run", "recommended", recommended),
        *(Line("run", name, text) for name, text in plan.facts if name in _FACTS),
        *(Line("run", "skipped files", text) for text in plan.skipped),
    ]
    lines += [Line("run", "adjusted", text, "note") for text in plan.adjustments]
    lines += [Line("run", "plan", text, "warning") for text in plan.warnings]
    if config.engine == KERAS:
        lines.append(Line("run", "forecast", "none: only engine=torch can be calibrated", "note"))
    elif plan.forecast is None and not plan.refuses:
        data = f" --data {shlex.quote(config.data.data_dir)}" if config.data.data_dir else ""
        command = f"gputrain-tui calibrate --recipe {shlex.quote(config.recipe or 'demo')}{data}"
        lines.append(Line("run", "forecast", "no calibration for these settings", "note", (command,)))
    return lines + [Line("run", "plan", text, "problem") for text in plan.refuses]
