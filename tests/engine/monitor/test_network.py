"""Network traffic counted once on stacked interfaces: fake ``/sys`` trees, and real interfaces in a namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gputrain.engine.monitor.network import Network, outer_interfaces

CARD = "device"
"""Marks an interface with hardware behind it."""


class Host:
    """Fake ``/sys/class/net`` and ``/proc/net/dev``."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        (self.proc / "net").mkdir(parents=True)
        self._numbers: dict[str, int] = {}

    def add(self, name: str, hardware: str = "", on: tuple[str, ...] = (), master: str = "", **files: object) -> None:
        """An interface that is stacked `on` others, and belongs to `master`; `files` are its other values."""
        folder = self.sys / "class" / "net" / name
        folder.mkdir(parents=True)
        number = self._numbers.setdefault(name, 10 * (len(self._numbers) + 1))
        for file, value in {"ifindex": number, "iflink": number, "type": 1, **files}.items():
            (folder / file).write_text(f"{value}\n")
        if hardware:
            (folder / "device").mkdir()
        for low in on:
            (folder / f"lower_{low}").symlink_to(f"../{low}")
        if master:
            (folder / "master").symlink_to(f"../{master}")

    def outer(self) -> set[str]:
        return set(outer_interfaces([path.name for path in (self.sys / "class" / "net").iterdir()], self.sys))

    def counts(self, **bytes_of: tuple[int, int]) -> None:
        lines = [f"{name}: {rx} 9 0 0 0 0 0 0 {tx} 9 0 0 0 0 0 0" for name, (rx, tx) in bytes_of.items()]
        (self.proc / "net" / "dev").write_text("\n".join(["Inter-|", " face |", *lines, ""]))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    one = Host(tmp_path)
    one.add("lo", type=772)
    return one


def bond_with_vlan_on_a_bridge(host: Host) -> None:
    for name in ("eth0", "eth1"):
        host.add(name, CARD, master="bond0")
    host.add("bond0", on=("eth0", "eth1"))
    host.add("bond0.5", on=("bond0",), master="br0")
    host.add("br0", on=("bond0.5", "vnet3"))
    host.add("vnet3", master="br0")


def test_bond_vlan_and_bridge_count_as_their_cards(host: Host) -> None:
    bond_with_vlan_on_a_bridge(host)
    assert host.outer() == {"eth0", "eth1"}


def test_traffic_of_stacked_interfaces_counts_once(host: Host) -> None:
    bond_with_vlan_on_a_bridge(host)
    stack = ("bond0", "bond0.5", "br0", "vnet3")
    host.counts(lo=(7, 7), eth0=(1000, 0), eth1=(0, 500), **dict.fromkeys(stack, (1000, 500)))
    network = Network(host.proc, host.sys)
    assert network.read(10.0) == (None, None)
    host.counts(lo=(99_999, 99_999), eth0=(5000, 0), eth1=(2000, 2500), **dict.fromkeys(stack, (7000, 2500)))
    assert network.read(12.0) == (3000, 1000)
    network.close()


def test_a_new_or_replaced_interface_adds_no_traffic(host: Host) -> None:
    host.add("eth0", CARD)
    host.add("eth1", CARD)
    host.counts(eth0=(1000, 100))
    network = Network(host.proc, host.sys)
    network.read(1.0)
    host.counts(eth0=(3000, 400), eth1=(10**12, 10**12))
    assert network.read(2.0) == (2000, 300)
    host.counts(eth0=(10, 10), eth1=(10**12 + 50, 10**12 + 5))
    assert network.read(3.0) == (50, 5)
    host.counts(eth0=(5, 5))
    assert network.read(4.0) == (None, None)
    network.close()


def test_a_card_that_joins_a_bond_later(host: Host) -> None:
    """The names stay the same: only the links in ``/sys`` change."""
    host.add("eth0", CARD)
    host.add("eth1", CARD)
    host.counts(eth0=(0, 0), eth1=(0, 0))
    network = Network(host.proc, host.sys)
    network.read(0.0)
    host.counts(eth0=(100, 0), eth1=(100, 0))
    assert network.read(1.0) == (200, 0)
    # An accelerated virtual function goes below eth0, which counts its traffic, too.
    (host.sys / "class/net/eth1/master").symlink_to("../eth0")
    (host.sys / "class/net/eth0/lower_eth1").symlink_to("../eth1")
    host.counts(eth0=(200, 0), eth1=(200, 0))
    assert network.read(20.0) == (round(100 / 19), 0)
    network.close()


def test_accelerated_networking_counts_the_virtual_function_in_its_master(host: Host) -> None:
    host.add("eth0", CARD, on=("enP1s1",))
    host.add("enP1s1", CARD, master="eth0")
    assert host.outer() == {"eth0"}


def test_ports_of_a_switch_chip_count_in_their_card(host: Host) -> None:
    host.add("eth0", CARD)
    for name in ("lan1", "lan2"):
        host.add(name, CARD, on=("eth0",))
    assert host.outer() == {"eth0"}


def test_representors_of_virtual_functions_are_not_cards(host: Host) -> None:
    host.add("p0", CARD, phys_port_name="p0")
    host.add("eth4", CARD, phys_port_name="pf0vf3")
    host.add("eth5", CARD, phys_port_name="c1pf0sf12")
    assert host.outer() == {"p0"}


def test_in_a_container_its_own_end_counts_and_what_is_inside_does_not(host: Host) -> None:
    host.add("eth0", iflink=7)
    host.add("docker0", on=("veth9a",))
    host.add("veth9a", master="docker0", iflink=2)
    host.add("macvlan0", on=("eth0",))
    host.add("wg0", type=65534)
    host.add("ifb0")  # gets again what eth0 received
    host.add("dummy0")
    assert host.outer() == {"eth0"}


def test_a_link_with_both_ends_here_leads_nowhere(host: Host) -> None:
    host.add("eth0", iflink=7)
    host.add("left", iflink=40)
    host.add("right", iflink=30)
    assert host.outer() == {"eth0"}


def test_a_tunnel_counts_where_there_is_no_link(host: Host) -> None:
    host.add("tun0", type=65534)
    assert host.outer() == {"tun0"}


def test_without_sys_names_decide(tmp_path: Path) -> None:
    names = ["lo", "eth0", "eth0.5", "veth1a", "br-12ab", "docker0", "bond0", "virbr0", "wlan0"]
    assert outer_interfaces(names, tmp_path) == {"eth0", "wlan0"}


SEND = """
import socket, sys
for name in sys.argv[1:]:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((name, 0))
    for _ in range(50):
        raw.send(b"\\xff" * 6 + b"\\x02" + b"\\x00" * 5 + b"\\x88\\xb5" + bytes(1000))
"""
INSIDE = """
import json, subprocess, sys, time
from pathlib import Path
from gputrain.engine.monitor.network import Network, outer_interfaces

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def counted(name):
    folder = Path("/sys/class/net", name, "statistics")
    return [int((folder / file).read_text()) for file in ("rx_bytes", "tx_bytes")]

waits = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 100"]
peer = subprocess.Popen(waits, stdout=subprocess.PIPE, text=True)
peer.stdout.readline()
try:
    ip("link", "set", "lo", "up")
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "far0", "netns", str(peer.pid))
    subprocess.run(["nsenter", "-t", str(peer.pid), "-n", "ip", "link", "set", "far0", "up"], check=True)
    ip("link", "set", "eth0", "up")
    stacked = []
    for kind in ("macvlan", "vlan id 5"):
        name = "on" + kind[:4]
        made = subprocess.run(["ip", "link", "add", "link", "eth0", "name", name, "type", *kind.split()])
        if made.returncode == 0:
            ip("link", "set", name, "up")
            stacked.append(name)
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "add", "veth9", "type", "veth", "peer", "name", "inner")
    ip("link", "set", "veth9", "master", "br0")
    for name in ("br0", "veth9", "inner"):
        ip("link", "set", name, "up")
    network = Network()
    for name in ("eth0", "inner", *stacked):
        while (Path("/sys/class/net", name, "operstate").read_text().strip() == "down"):
            time.sleep(0.01)
    before = counted("eth0")
    network.read(1.0)
    subprocess.run([sys.executable, "-c", sys.argv[1], "eth0", "inner", *stacked], check=True)
    far = ["nsenter", "-t", str(peer.pid), "-n", sys.executable, "-c", sys.argv[1], "far0"]
    subprocess.run(far, check=True)
    least = counted("eth0")
    rates = network.read(2.0)
    most = counted("eth0")
    print(json.dumps({
        "outer": sorted(outer_interfaces([path.name for path in Path("/sys/class/net").iterdir()])),
        "stacked": stacked,
        "rates": rates,
        "least": [b - a for a, b in zip(before, least)],
        "most": [b - a for a, b in zip(before, most)],
        "inner": counted("inner")[1],
    }))
finally:
    peer.kill()
    peer.wait()
"""


def test_real_interfaces_of_a_network_namespace() -> None:
    """A container's end of a link, interfaces on it, and a bridge with a link that stays inside."""
    space = ["unshare", "--map-root-user", "--net", "--mount"]
    sysfs = "mount -t sysfs sysfs /sys && ip link add ve0 type veth peer name ve1 && exec"
    try:
        able = subprocess.run([*space, "sh", "-c", f"{sysfs} true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare is missing (util-linux)")
    if able.returncode:
        pytest.skip(f"network namespaces cannot be made here: {able.stderr.strip()}")
    command = [*space, "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh", sys.executable, "-c", INSIDE, SEND]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["outer"] == ["eth0"]
    assert found["inner"] >= 50 * 1014
    for rate, least, most in zip(found["rates"], found["least"], found["most"], strict=True):
        assert least <= rate <= most
    # The frames of eth0 and of the interfaces on it, each once (and a few of the kernel's own).
    received, sent = found["rates"]
    assert 50 * 1014 <= received < 100 * 1014
    frames = 50 * (1 + len(found["stacked"]))
    assert frames * 1014 <= sent < (frames + 50) * 1014


MANY = """
import json
from pathlib import Path
from gputrain.engine.monitor import network
seen = set()
network.outer_interfaces = lambda names, sys: seen.update(names) or frozenset()
reader = network.Network()
reader.read(1.0), reader.read(2.0)
print(json.dumps([sorted(seen), [line.split(":")[0].strip() for line in Path("/proc/net/dev").open()][2:]]))
"""


def test_every_interface_of_a_machine_with_many_is_read() -> None:
    """The kernel gives /proc/net/dev in pages of about 30 interfaces; each container has one."""
    make = "for i in $(seq 60); do ip link add left$i type veth peer name right$i || exit 9; done"
    space = ["unshare", "--map-root-user", "--net", "sh", "-c", f'{make}; exec "$@"', "sh"]
    done = subprocess.run([*space, sys.executable, "-c", MANY], capture_output=True, text=True)
    if done.returncode and "gputrain" not in done.stderr:
        pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found, there = json.loads(done.stdout)
    assert found == sorted(there)
    assert len(found) == 121
