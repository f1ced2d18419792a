"""Network traffic from ``/proc/net/dev``: bytes per second over the interfaces that lead out of this machine.

Interfaces are often stacked: a bond on two cards, a VLAN on the bond, a bridge on the VLAN. Each of them counts the
same bytes. So only the lowest ones count, those with hardware behind them (``/sys/class/net/*/device``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import Struct

from gputrain.engine.monitor.proc_file import ProcFile

_RECHECK_SECONDS = 10.0
"""Seconds after which the interfaces are classified again: a card may join a bond at any time."""
_REPRESENTOR = re.compile(r"c?\d*pf\d+(vf|sf)\d+")
"""``phys_port_name`` of a port that represents a virtual function of the card (devlink-port.rst)."""
_ETHERNET, _INFINIBAND = 1, 32
"""Values of ``type`` (if_arp.h) of interfaces that are not tunnels."""
_PORT_NAMES = ("veth", "vnet", "tap")
"""Names of a container's or virtual machine's port on a bridge."""
_DEAD_ENDS = ("dummy", "ifb")
"""Names of interfaces that send to nowhere, or get again what another one received (traffic control)."""
_VIRTUAL_NAMES = (*_PORT_NAMES, "br", "docker", "virbr", "bond", "team", "vlan", *_DEAD_ENDS, "tun", "wg")
"""Names of virtual interfaces, for machines without ``/sys``."""


class _Interface(Struct, frozen=True):
    """What ``/sys/class/net/NAME`` says about one interface."""

    hardware: bool
    master: str
    """The bond or bridge that it belongs to; empty without one."""
    lower: tuple[str, ...]
    """The interfaces below it."""
    kind: int
    number: int
    peer: int
    """Number of the interface at its other end (veth) or below it; its own number without one."""


def outer_interfaces(names: Collection[str], sys: Path = Path("/sys")) -> frozenset[str]:
    """Those of the interfaces `names` whose traffic together counts each byte once.

    With hardware: the cards. Without (in a container): the ends of links that lead out, not what is stacked on them.
    """
    others = [name for name in names if name != "lo"]
    known = {name: found for name in others if (found := _read_interface(sys / "class" / "net" / name)) is not None}
    if not known:
        return frozenset(n for n in others if not n.startswith(_VIRTUAL_NAMES) and "." not in n)
    cards = {name for name, one in known.items() if one.hardware}
    if cards:
        return frozenset(name for name in cards if not _is_counted_elsewhere(name, known, cards))
    lowest = {name for name, one in known.items() if not _is_inner(name, one, known)}
    links = {name for name in lowest if known[name].kind in (_ETHERNET, _INFINIBAND)}
    # The traffic of a tunnel (VPN) is counted on the link below it, if there is one.
    return frozenset(links or lowest)


def _is_counted_elsewhere(name: str, known: Mapping[str, _Interface], cards: Collection[str]) -> bool:
    """Whether the traffic of a card is also in another card's counters.

    A virtual function under an accelerated virtual interface (netvsc, net_failover) counts in its master; the ports of
    a switch chip (DSA) count in the card that connects them.
    """
    one = known[name]
    return one.master in cards or any(low in cards and known[low].master != name for low in one.lower)


def _is_inner(name: str, one: _Interface, known: Mapping[str, _Interface]) -> bool:
    """Whether an interface without hardware is stacked on another one, or leads to a container on this machine."""
    if any(low in known for low in one.lower) or (one.master and name.startswith(_PORT_NAMES)):
        return True
    if name.startswith(_DEAD_ENDS):
        return True
    # Both ends of the link are here.
    return any(two is not one and one.peer == two.number and two.peer == one.number for two in known.values())


def _read_interface(folder: Path) -> _Interface | None:
    number = _number(folder / "ifindex")
    if number is None:
        return None
    try:
        master = (folder / "master").readlink().name
    except OSError:
        master = ""
    kind, peer = _number(folder / "type"), _number(folder / "iflink")
    return _Interface(
        hardware=(folder / "device").exists() and not _REPRESENTOR.fullmatch(_text(folder / "phys_port_name")),
        master=master,
        lower=tuple(path.name.removeprefix("lower_") for path in folder.glob("lower_*")),
        kind=_ETHERNET if kind is None else kind,
        number=number,
        peer=number if peer is None else peer,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # absent, or the driver does not support it


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


class Network:
    """Reads ``/proc/net/dev``."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._file = ProcFile(proc / "net" / "dev", 1 << 13, in_pages=True)
        self._sys = sys
        self._before: tuple[float, dict[str, tuple[int, int]]] | None = None
        self._names: frozenset[str] = frozenset()
        self._outer: frozenset[str] = frozenset()
        self._checked_at = float("-inf")

    def read(self, now: float) -> tuple[float | None, float | None]:
        """Bytes per second received and sent since the last call; None the first time, and without an interface.

        An interface that is new, or was replaced so that its counters restarted, counts from the next call on.
        """
        counters = _parse(self._file.read())
        before, self._before = self._before, (now, counters)
        if before is None or now <= before[0]:
            return None, None
        changes = [
            (received - before[1][name][0], sent - before[1][name][1])
            for name, (received, sent) in counters.items()
            if name in self._outer_of(counters, now) and name in before[1]
        ]
        grown = [(received, sent) for received, sent in changes if received >= 0 and sent >= 0]
        if not grown:
            return None, None
        seconds = now - before[0]
        return round(sum(one for one, _ in grown) / seconds), round(sum(one for _, one in grown) / seconds)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _outer_of(self, counters: Mapping[str, object], now: float) -> frozenset[str]:
        if counters.keys() != self._names or now - self._checked_at >= _RECHECK_SECONDS:
            self._names, self._checked_at = frozenset(counters), now
            self._outer = outer_interfaces(counters, self._sys)
        return self._outer


def _parse(content: bytes) -> dict[str, tuple[int, int]]:
    """Interface → bytes received and sent since it was created."""
    found = {}
    for line in content.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        fields = rest.split()
        found[name.strip().decode("utf-8", "replace")] = int(fields[0]), int(fields[8])
    return found
