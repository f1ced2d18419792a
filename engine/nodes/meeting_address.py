"""The address at which the nodes meet: listening on the first node, and probing from the others. Imports no torch."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
import threading
from collections.abc import Sequence

import psutil

from gputrain.engine.common.sanitize import plain

PROBE_SECONDS = 4.0
_BACKLOG = 512
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def is_loopback(address: str) -> bool:
    """Whether `address` (a number, not a name) leads to the machine itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def own_addresses() -> list[str]:
    """Addresses of this machine that others may reach, that of the ssh connection first; no loopback or link-local."""
    found = [address for name, address in _interfaces() if _is_usable(name, address)]
    # "client port server port" of the connection that started this process.
    words = os.environ.get("SSH_CONNECTION", "").split()
    first = words[2] if len(words) == 4 else ""
    return sorted(dict.fromkeys(found), key=lambda address: address != first)


def _interfaces() -> list[tuple[str, str]]:
    """Interface and address of each; for interfaces that are up."""
    states = psutil.net_if_stats()
    return [
        (name, one.address)
        for name, addresses in psutil.net_if_addrs().items()
        for one in addresses
        if one.family in _FAMILIES and name in states and states[name].isup
    ]


def _is_usable(_name: str, address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


def interface_of(address: str) -> str:
    """The interface that has this address of this machine; empty if none has."""
    return next((name for name, own in _interfaces() if own.partition("%")[0] == address.partition("%")[0]), "")


def route_to(address: str, port: int) -> str:
    """The interface from which this machine reaches another one; empty if it is unknown."""
    with contextlib.suppress(OSError):
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)  # sends nothing
            return interface_of(probe.getsockname()[0])
    return ""


class MeetingListeners:
    """Listens at some addresses and answers every connection with a token, until one listener becomes the store's."""

    def __init__(self, addresses: Sequence[str], token: str) -> None:
        """Raises OSError if it can't listen at one of them."""
        self._token = token.encode()
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        for address in addresses:
            family, _, _, _, target = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
            made = socket.create_server(target[:2], family=family, backlog=_BACKLOG)
            self._sockets[address, made.getsockname()[1]] = made
        self._stop, self._stopper = socket.socketpair()
        self._thread = threading.Thread(target=self._answer, name="meeting", daemon=True)
        self._thread.start()

    @property
    def offers(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each listener."""
        return tuple(self._sockets)

    def _answer(self) -> None:
        listening = list(self._sockets.values())
        while True:
            ready, _, _ = select.select([*listening, self._stop], [], [])
            if self._stop in ready:
                return
            for one in ready:
                with contextlib.suppress(OSError):
                    connection, _ = one.accept()
                    with connection:
                        connection.sendall(self._token)

    def take(self, address: str, port: int) -> socket.socket:
        """The listener at this address, for the store; the others are closed. Raises KeyError if there is none."""
        self._stopper.send(b".")
        self._thread.join()
        chosen = self._sockets.pop((address, port))
        self.close()
        return chosen

    def close(self) -> None:
        """Stop listening. Idempotent."""
        with contextlib.suppress(OSError):
            self._stopper.send(b".")
        self._thread.join()
        for one in (*self._sockets.values(), self._stop, self._stopper):
            one.close()
        self._sockets.clear()


def probe(address: str, port: int, token: str) -> str:
    """Connect to a listener: empty if it answers with the token, else why not."""
    try:
        with socket.create_connection((address, port), PROBE_SECONDS) as connection:
            connection.settimeout(PROBE_SECONDS)
            answer = b""
            while len(answer) < len(token) and (data := connection.recv(1024)):
                answer += data
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return plain(error.strerror or str(error), 100)
    return "" if answer == token.encode() else "another machine answers there"
