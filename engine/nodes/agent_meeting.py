"""An agent's part in finding the address at which the ranks meet: it listens, or tries what the first node offers."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable

from gputrain.engine.common.sanitize import plain
from gputrain.engine.nodes import meeting_address
from gputrain.engine.nodes.meeting_address import MeetingListeners
from gputrain.engine.nodes.node_messages import AnyMessage, Offered, Probe, Probed, Start
from gputrain.engine.processes.rank_environment import LOOPBACK


class AgentMeeting:
    """Answers `Offer` and `Probe`; keeps the listeners until the start."""

    def __init__(self, send: Callable[[AnyMessage], None]) -> None:
        """`send` may be called on any thread."""
        self._send = send
        self._listeners: MeetingListeners | None = None

    def offer(self, address: str) -> None:
        """Listen at `address`, or at all addresses of this machine if it is empty, and say where."""
        self._close()
        token = secrets.token_hex(8)
        own = meeting_address.own_addresses()
        addresses = [address] if address else own
        try:
            if not addresses:
                raise OSError(0, "it has no address but its loopback")
            self._listeners = MeetingListeners(addresses, token)
        except OSError as error:
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else plain(error.strerror or str(error), 200)
            has = ", ".join(own) or "none"
            problem = f"can't listen at {address or has}: {why}; it has: {has}"
            self._send(Offered(offers=(), token="", problem=problem))
            return
        self._send(Offered(offers=self._listeners.offers, token=token, problem=""))

    def probe(self, message: Probe) -> None:
        """Try to connect to all offers at once, on threads, and say which were reached."""
        threading.Thread(target=self._probe, args=(message,), name="probe", daemon=True).start()

    def _probe(self, message: Probe) -> None:
        results = [""] * len(message.offers)

        def one(number: int) -> None:
            address, port = message.offers[number]
            results[number] = meeting_address.probe(address, port, message.token)

        threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(message.offers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._send(Probed(results=tuple(results)))

    def take(self, start: Start) -> socket.socket | None:
        """The listener that becomes the store's, on the node of rank 0; None on the others. Closes the rest.

        Several ranks of this node alone meet at its loopback, which no other node has to reach.
        """
        if not start.address and start.ranks > 1:
            self._close()
            return socket.create_server((LOOPBACK, 0), backlog=max(128, start.ranks))
        if self._listeners is None or start.first_rank or not start.address:
            self._close()
            return None
        listeners, self._listeners = self._listeners, None
        return listeners.take(start.address, start.port)

    def _close(self) -> None:
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None
