"""The same screens in a browser: textual-serve, behind a key that only the link tells.

Whoever reaches the page can start and stop training, so an address alone is not enough: other users of the host, and
other pages in the same browser, don't know the key. The link hands it over once; then a cookie has it that other
sites' requests do not carry.
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
    """Serves `command`, a gputrain-tui command line, to those who know `key`."""

    def __init__(self, command: Sequence[str], host: str, port: int) -> None:
        self.key = secrets.token_urlsafe(24)
        words = [sys.executable, "-P", "-m", "gputrain.tui.cli", *command]
        super().__init__(shlex.join(words), host, port, "gputrain-tui", f"http://{_shown(host)}:{port}")

    @property
    def link(self) -> str:
        """What to open in the browser."""
        return f"{self.public_url}/?key={self.key}"

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()

        @web.middleware
        async def keyed(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answer(request, handler)

        app.middlewares.append(keyed)
        return app

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" and _same(request.query.get("key", ""), self.key):
            # Once more without the key, which has no place in histories and screenshots.
            moved = web.Response(status=303, headers={"Location": "/"})
            moved.set_cookie(COOKIE, self.key, httponly=True, samesite="Strict", path="/")
            return moved
        # Pages of other ports of this host count as the same site for the cookie.
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return web.Response(status=403, text="another page asked for this\n")
        if not _same(request.cookies.get(COOKIE, ""), self.key):
            return web.Response(status=403, text="Open the link that gputrain-tui serve has printed: it has the key.\n")
        return await handler(request)

    async def on_startup(self, app: web.Application) -> None:
        """Nothing is said before anybody listens."""

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM; the link is printed as soon as it can be opened."""
        self.debug = debug
        web.run_app(self._make_app(), host=self.host, port=self.port, print=self._tell, access_log=None)

    def _tell(self, _text: str) -> None:
        # aiohttp calls this once it listens.
        print(f"serving on {self.link}\nCtrl-C ends it; runs go on.", flush=True)


def _shown(host: str) -> str:
    """`host` as it stands in a link; every address of this machine is shown as its name."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - only compared with
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _same(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())
