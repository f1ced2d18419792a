"""An assumed machine for plans with ``--machine``: its GPU, cores and RAM come from a profile.

What the profile does not contain is taken from this machine. Such a plan cannot be started.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.numbers import number, why_no_number
from gputrain.engine.common.sanitize import plain
from gputrain.engine.common.units import GIB, size
from gputrain.engine.hardware.machine import GpuInfo, Machine
from gputrain.profiles import catalog
from gputrain.profiles.schema import HardwareProfile

_IN_USE = 3 * GIB
"""RAM used by the system (seed 003: "OS + base ~3 GB")."""
_KEYS = ("gpus", "cores", "ram", "images")
_MOST = 1e9
_MOST_GPUS = 64
_LONGEST = 40
"""Longer words are no numbers here."""


class AssumedMachine(Struct, frozen=True):
    """A parsed ``--machine`` option."""

    profile: str
    cores: float | None = None
    ram: float | None = None
    """In GiB."""
    images: int | None = None
    """Assumed number of training images."""
    gpus: int = 1
    """Number of GPUs."""


def parse(text: str) -> AssumedMachine:
    """Parse ``a10g-23gb`` or ``a10g-23gb,cores=16,ram=62,images=1281167``. Raises BadInput."""
    profile, *pairs = (part.strip() for part in text.split(","))
    given: dict[str, float] = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if name not in _KEYS:
            raise BadInput(
                f"--machine: unknown '{plain(pair, 60)}'{did_you_mean(name[:60], _KEYS)} "
                "(PROFILE, then gpus=N, cores=N, ram=GIB or images=N)"
            )
        given[name] = _number(name, number)
    images = given.get("images")
    counted = None if images is None else max(1, int(images))
    return AssumedMachine(profile, given.get("cores"), given.get("ram"), counted, max(1, int(given.get("gpus", 1))))


def _number(name: str, text: str) -> float:
    found = number(text) if len(text) <= _LONGEST else None
    whole, most = name in ("gpus", "images"), _MOST_GPUS if name == "gpus" else _MOST
    if found is None or not 0 < found <= most or (whole and found != int(found)):
        hint = why_no_number(text) if found is None else ""
        what = "a whole number" if whole else "a number"
        limit = f" and at most {most:g}" if name == "gpus" else ""
        raise BadInput(f"--machine: {name} must be {what} above 0{limit}, got '{plain(text, 60)}'{hint}")
    return float(found)


def machine_of(wanted: AssumedMachine, here: Machine) -> Machine:
    """The machine for `wanted`. Raises BadInput for an unknown profile, or one without a specific GPU."""
    profile = catalog.load_profile(wanted.profile)
    gpus = () if profile.match.device == "cpu" else (gpu_of(profile),) * wanted.gpus
    cores = wanted.cores or profile.machine.cores
    gib = wanted.ram or profile.machine.ram_gib
    memory = int(gib * GIB) if gib else here.memory_limit
    name = f"{gpus[0].name}, {size(gpus[0].memory or 0)}" if gpus else "a CPU"
    name = f"{len(gpus)} × {name}" if len(gpus) > 1 else name
    as_here = [what for what, known in (("cores", cores), ("RAM", gib)) if not known]
    rest = f"{cores or here.usable_cores:g} cores and {size(memory)} of RAM"
    return replace(
        here,
        hostname="assumed",
        usable_cores=cores or here.usable_cores,
        host_cores=math.ceil(cores or here.host_cores),
        cpu_model="an assumed CPU",
        memory_total=memory,
        memory_limit=memory,
        memory_available=max(0, memory - _IN_USE) if gib else here.memory_available,
        shm_total=memory // 2,
        shm_used=0,
        gpus=gpus,
        gpu_error="" if gpus else "none assumed",
        logout="",
        torch=None,
        assumed=f"planned for another machine, not for this one: {plain(name, 100)}, {rest}"
        + (f" ({' and '.join(as_here)} as here)" if as_here else ""),
    )


def gpu_of(profile: HardwareProfile) -> GpuInfo:
    """The GPU that a profile is for. Raises BadInput where it is for many."""
    rules = profile.match
    gib = profile.machine.gpu_gib or (rules.memory_gib[0] if rules.memory_gib else None)
    if not rules.names or gib is None:
        raise BadInput(f"--machine: profile {profile.name} is for many GPUs; choose the profile of one of them")
    capability = None
    if rules.capability:
        major, _, minor = f"{rules.capability:.1f}".partition(".")
        capability = (int(major), int(minor))
    # A star matches any text, also none.
    name = rules.names[0].replace("*", "").strip()
    return GpuInfo(index=0, uuid="GPU-assumed", name=name, memory=int(gib * GIB), capability=capability)
