"""The options of a Slurm job, as written after ``--slurm``: names and forms are those of sbatch. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain

_MOST = 100_000
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,100}")
_NODES = re.compile(r"[A-Za-z0-9_.\[\],-]{1,500}")
_FEATURES = re.compile(r"[A-Za-z0-9_.:&|*()\[\]-]{1,200}")
_MEMORY = re.compile(r"[0-9]{1,9}[KMGT]?")
_GPUS = re.compile(r"(?:(?P<kind>[A-Za-z0-9_.-]{1,60}):)?(?P<count>[0-9]{1,5})")
_SIGNAL = re.compile(r"(?P<name>USR1|TERM)@(?P<seconds>[0-9]{1,5})")
_MINUTES = re.compile(r"(?P<minutes>[0-9]+)(:(?P<seconds>[0-9]+))?")
_HOURS = re.compile(r"(?P<hours>[0-9]+):(?P<minutes>[0-9]+):(?P<seconds>[0-9]+)")
_DAYS = re.compile(r"(?P<days>[0-9]+)-(?P<hours>[0-9]+)(:(?P<minutes>[0-9]+)(:(?P<seconds>[0-9]+))?)?")
_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_LEAD_SECONDS = 120
"""Time before the limit at which Slurm sends its signal; of short jobs a quarter of the limit."""

_FORMS = {
    "partition": (_NAME, "a name"),
    "account": (_NAME, "a name"),
    "qos": (_NAME, "a name"),
    "reservation": (_NAME, "a name"),
    "constraint": (_FEATURES, "features of nodes, such as a100&ib"),
    "nodelist": (_NODES, "names of nodes, such as node[03-05,9]"),
    "exclude": (_NODES, "names of nodes, such as node[03-05,9]"),
    "mem": (_MEMORY, "a size, such as 64G"),
    "mem-per-gpu": (_MEMORY, "a size, such as 64G"),
    "gpus-per-node": (_GPUS, "a number, or KIND:NUMBER such as a100:4"),
    "signal": (_SIGNAL, "USR1@SECONDS or TERM@SECONDS before the time limit"),
}
_NUMBERS = ("nodes", "ntasks-per-node", "cpus-per-task")
KEYS = ("partition", "nodes", "gpus-per-node", "ntasks-per-node", "cpus-per-task", "time", "mem", "mem-per-gpu",
        "account", "qos", "reservation", "constraint", "nodelist", "exclude", "signal")  # fmt: skip
"""All options."""


class SlurmOptions(Struct, frozen=True, kw_only=True):
    """A job's options."""

    given: dict[str, str]
    """Option → value, as sbatch takes them."""
    nodes: int = 1
    ranks_per_node: int = 1
    """Tasks of a node: one for each GPU."""
    gpus_per_node: int = 0
    """0: a job on CPUs."""
    gpu_kind: str = ""
    """``a100``; empty: not given."""
    cpus_per_task: int = 0
    """0: not given."""
    time_limit: int | None = None
    """Seconds; None: that of the partition."""

    @property
    def ranks(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.ranks_per_node

    @property
    def partition(self) -> str:
        """The partition; empty: Slurm's default."""
        return self.given.get("partition", "")

    @property
    def signal(self) -> str:
        """The signal before the time limit, ``USR1@120``."""
        if "signal" in self.given:
            return self.given["signal"]
        lead = _LEAD_SECONDS if self.time_limit is None else min(_LEAD_SECONDS, max(1, self.time_limit // 4))
        return f"USR1@{lead}"


def parse(text: str) -> SlurmOptions:
    """Parse ``partition=gpu,nodes=2,gpus-per-node=4,time=4:00:00``. Raises BadInput naming the option."""
    given: dict[str, str] = {}
    for part in _parts(text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = name.replace("_", "-")
        if name not in KEYS:
            raise BadInput(
                f"--slurm: unknown option '{plain(name, 60)}'{did_you_mean(name[:60], KEYS)} (all: {', '.join(KEYS)})"
            )
        if not equals or not value:
            raise BadInput(f"--slurm: {name} has no value; write {name}=VALUE")
        if name in given:
            raise BadInput(f"--slurm: {name} is given twice")
        _check(name, value)
        given[name] = value
    return _options(given)


def _parts(text: str) -> Iterator[str]:
    """The options of `text`: separated by commas, except inside brackets (node[1,2])."""
    depth, start = 0, 0
    for place, sign in enumerate(text):
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth <= 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _check(name: str, value: str) -> None:
    """Raises BadInput for a value that this option can't have."""
    if name in _NUMBERS:
        if not (value.isascii() and value.isdecimal() and 1 <= int(value[:9]) <= _MOST):
            raise _wrong(name, f"a whole number from 1 to {_MOST}", value)
    elif name == "time":
        if not seconds_of(value):
            raise _wrong(name, "MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, such as 4:00:00", value)
    else:
        form, what = _FORMS[name]
        if form.fullmatch(value) is None:
            raise _wrong(name, what, value)


def _wrong(name: str, what: str, value: str) -> BadInput:
    return BadInput(f"--slurm: {name} must be {what}, got '{plain(value, 60)}'")


def seconds_of(text: str) -> int:
    """A time limit of sbatch in seconds; 0 where it is none."""
    found = _MINUTES.fullmatch(text) or _HOURS.fullmatch(text) or _DAYS.fullmatch(text)
    if found is None or len(text) > 20:
        return 0
    return sum(int(number) * _UNITS[unit] for unit, number in found.groupdict().items() if number)


def _options(given: dict[str, str]) -> SlurmOptions:
    kind, gpus = "", 0
    if (text := given.get("gpus-per-node")) and (found := _GPUS.fullmatch(text)):
        kind, gpus = found["kind"] or "", int(found["count"])
        if not gpus:
            raise BadInput("--slurm: gpus-per-node must be at least 1; leave it out for a job on CPUs")
    tasks = int(given.get("ntasks-per-node", gpus or 1))
    if gpus and tasks != gpus:
        raise BadInput(f"--slurm: ntasks-per-node must be gpus-per-node, {gpus}, one rank for each GPU; leave it out")
    time = given.get("time")
    return SlurmOptions(
        given=given,
        nodes=int(given.get("nodes", 1)),
        ranks_per_node=tasks,
        gpus_per_node=gpus,
        gpu_kind=kind,
        cpus_per_task=int(given.get("cpus-per-task", 0)),
        time_limit=seconds_of(time) if time else None,
    )
