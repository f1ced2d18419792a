"""Web server for the screens: textual-serve with a secret key.

Who can open the page can start and stop training, so the address alone must not be enough: other users of the host and
other pages in the same browser do not know the key. The printed link contains the key once. Then a SameSite cookie
holds it, which requests from other sites do not carry.
"""

from __future__ import annotations

import hmac
import secrets
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

COOKIE = "gputrain_key"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyedServer(Server):
    """Serves `command`, a gputrain-tui command line, to browsers that have the key."""

    def __init__(self, command: Sequence[str], host: str, port: int) -> None:
        self.key = secrets.token_urlsafe(24)
        words = [sys.executable, "-P", "-m", "gputrain.tui.cli", *command]
        super().__init__(shlex.join(words), host, port, "gputrain-tui", f"http://{_url_host(host)}:{port}")

    @property
    def link(self) -> str:
        """The URL to open in the browser, with the key."""
        return f"{self.public_url}/?key={self.key}"

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()

        @web.middleware
        async def keyed(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._check_and_handle(request, handler)

        app.middlewares.append(keyed)
        return app

    async def _check_and_handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" and _equal(request.query.get("key", ""), self.key):
            # Redirect to the address without the key, so that the key stays out of histories and screenshots.
            moved = web.Response(status=303, headers={"Location": "/"})
            moved.set_cookie(COOKIE, self.key, httponly=True, samesite="Strict", path="/")
            return moved
        # For SameSite cookies, pages on other ports of this host are the same site.
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return web.Response(status=403, text="The request came from a page of another origin.\n")
        if not _equal(request.cookies.get(COOKIE, ""), self.key):
            return web.Response(
                status=403, text="Open the link that gputrain-tui serve printed: it contains the key.\n"
            )
        return await handler(request)

    async def on_startup(self, app: web.Application) -> None:
        """Print nothing: `serve` prints the link once the socket listens."""

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM. Prints the link as soon as it can be opened."""
        self.debug = debug
        web.run_app(self._make_app(), host=self.host, port=self.port, print=self._print_link, access_log=None)

    def _print_link(self, _text: str) -> None:
        # aiohttp calls this once the socket listens.
        print(f"serving on {self.link}\nCtrl-C stops the server; runs continue.", flush=True)


def _url_host(host: str) -> str:
    """`host` as part of a URL; a wildcard address becomes the host name of this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - only compared
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _equal(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())
