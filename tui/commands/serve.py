"""``gputrain-tui serve [RUN]``: serves the dashboard or the launcher to a browser."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs import run_directory


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    command = ["tail", str(run_directory.find(options.run).directory)] if options.run else []
    _check_address(options.host, options.port)
    try:
        from gputrain.tui.cli.web_server import KeyedServer
    except ImportError:
        raise BadInput("serving needs textual-serve: pip install 'gputrain-tui[serve]'") from None
    if not _is_loopback(options.host):
        print(
            f"gputrain-tui: {plain(options.host, 80)} is reachable from other machines without encryption: "
            "everybody who sees the link or the traffic can start and stop runs. Safer: ssh -L "
            f"{options.port}:127.0.0.1:{options.port}",
            file=sys.stderr,
        )
    KeyedServer(command, options.host, options.port).serve()
    return EXIT_FINISHED


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_address(host: str, port: int) -> None:
    """Raises BadInput if the address cannot be bound."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"--host {plain(host, 80)} --port {port}: {what}; choose another address or port") from None
