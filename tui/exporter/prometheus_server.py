"""Serves metrics over HTTP: on the loopback interface, or on others for those who have the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gputrain.engine.common.errors import BadInput

TOKEN = "GPUTRAIN_PROMETHEUS_TOKEN"  # noqa: S105 - the name of the variable
"""Environment variable with the bearer token; needed for addresses other than loopback."""
_SHORTEST = 16


class _Collector(Collector):
    def __init__(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each scrape: one that stalls holds back no other."""

    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    timeout = 30.0

    def log_message(self, *_: Any) -> None:
        pass


def serve(address: tuple[str, int], metrics: Callable[[], Iterable[Metric]]) -> WSGIServer:
    """Serve `metrics` at ``/metrics`` on a thread; call `shutdown` at the end. Raises BadInput."""
    host, port = address
    token = os.environ.get(TOKEN, "")
    if not _is_loopback(host) and len(token) < _SHORTEST:
        raise BadInput(
            f"--prometheus {host}:{port}: others can reach this address; set {TOKEN} to a token of at least "
            f"{_SHORTEST} characters, or listen on 127.0.0.1:{port}"
        )
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    try:
        server = make_server(host, port, _guarded(make_wsgi_app(registry), token), _class_for(host), _SilentHandler)
    except OSError as error:
        raise BadInput(f"--prometheus {host}:{port}: cannot listen there: {error.strerror or error}") from None
    threading.Thread(target=server.serve_forever, name="prometheus", daemon=True).start()
    return server


def _class_for(host: str) -> type[WSGIServer]:
    if ":" not in host:
        return _Server

    class _Server6(_Server):
        address_family = socket.AF_INET6

    return _Server6


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _guarded(app: Any, token: str) -> Any:
    """`app` for those who send the token; for everybody if there is none."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sent = environ.get("HTTP_AUTHORIZATION", "")
        if token and not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
            return [b"a bearer token is needed\n"]
        if environ.get("PATH_INFO") not in ("/metrics", "/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"see /metrics\n"]
        result: Iterable[bytes] = app(environ, start_response)
        return result

    return answer
