"""Plans for made-up machines."""

from __future__ import annotations

from typing import Any

import msgspec
from fakes.machines import NO_GPU, with_gpu

from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer

CPU = msgspec.structs.replace(NO_GPU, usable_cores=4.0)


def gpu(capability: tuple[int, int] | None = (8, 6), gib: float | None = 24, cores: float = 16.0) -> Machine:
    return with_gpu("Some GPU", gib, capability, cores)


def plan_of(machine: Machine, own: bool = False, **values: Any) -> Plan:
    return make_plan([SettingsLayer("you" if own else "recipe test", values, own=own)], machine)


def value(plan: Plan, name: str) -> str:
    return next(row.value for row in plan.rows if row.setting == name)


def note(plan: Plan, name: str) -> str:
    return next(row.note for row in plan.rows if row.setting == name)
