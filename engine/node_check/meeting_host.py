"""Whether the ranks of several nodes can meet: a name for this machine alone leaves them waiting for minutes."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Mapping

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.processes.rank_environment import ENVIRONMENT, RankInfo

_NODE_COUNTS = ("SLURM_STEP_NUM_NODES", "GROUP_WORLD_SIZE")
_NODE_NUMBERS = ("SLURM_NODEID", "GROUP_RANK")
_NAME_SECONDS = 30.0
_RETRY_SECONDS = 1.0


def require_reachable(info: RankInfo, environ: Mapping[str, str] = os.environ) -> None:
    """Raises BadInput if ranks on other nodes can't reach rank 0, or gloo would offer them a loopback address.

    Waits up to `_NAME_SECONDS` for the name of rank 0's machine where no launcher tells the nodes: a pod of Kubernetes
    has a name only some time after its start.
    """
    by_name = info.launcher == ENVIRONMENT and not info.meeting.is_local
    if _number(environ, _NODE_COUNTS) <= 1 and not by_name:
        return
    host = info.meeting.host
    where = f"rank {info.rank} on {plain(socket.gethostname(), 80)}"
    patience = _NAME_SECONDS if by_name else 0.0
    if not (addresses := _addresses_within(host, patience)):
        tried = f" for {patience:.0f} s" if patience else ""
        raise BadInput(
            f"MASTER_ADDR: {where}: '{plain(host, 80)}' can't be resolved on this node{tried}; set MASTER_ADDR to the "
            "IP address of rank 0's node"
        )
    if by_name:
        # Whether these ranks are on several machines is not known.
        return
    address = _loopback(addresses)
    # On rank 0's own node its name may have a loopback address, as Debian's /etc/hosts gives it.
    if address and (address == host or host == "localhost" or _number(environ, _NODE_NUMBERS)):
        named = f"'{plain(host, 80)}'" + (f" is {address} on this node" if address != host else "")
        raise BadInput(
            f"MASTER_ADDR: {where}: {named}, a loopback address, and the ranks run on several nodes; set MASTER_ADDR "
            "to an address of rank 0's node that all nodes reach"
        )
    name = socket.gethostname()
    if "GLOO_SOCKET_IFNAME" not in environ and (address := _loopback(_addresses(name))):
        raise BadInput(
            f"GLOO_SOCKET_IFNAME: {where}: its name is {address}, a loopback address, which the other nodes can't "
            "reach; set GLOO_SOCKET_IFNAME to its network interface (ip -brief address), or correct /etc/hosts"
        )


def _addresses_within(host: str, seconds: float) -> set[str]:
    """`_addresses`, tried for so long."""
    deadline = time.monotonic() + seconds
    while not (found := _addresses(host)) and time.monotonic() < deadline:
        time.sleep(_RETRY_SECONDS)
    return found


def _addresses(host: str) -> set[str]:
    """The addresses of `host`; empty if it can't be resolved."""
    try:
        return {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _loopback(addresses: set[str]) -> str:
    """One of the addresses if all of them are loopback; empty if not."""
    return min(addresses) if addresses and all(ipaddress.ip_address(one).is_loopback for one in addresses) else ""


def _number(environ: Mapping[str, str], names: tuple[str, ...]) -> int:
    text = next((environ[name] for name in names if name in environ), "")
    return int(text) if text.isdecimal() else 0
