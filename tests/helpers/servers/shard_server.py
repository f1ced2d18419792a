"""A real web server of a folder with range requests, which fails, stalls and lies on request."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

Fault = Callable[["ShardRequest"], bool]
"""Answers a request wrongly and returns true, or leaves it to the server."""


@dataclass
class ShardServer:
    """A running server."""

    folder: Path
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of each request."""
    queries: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    """Asked in this order; one that returns true is used up."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends all stalls."""

    def downloads(self, name: str) -> list[str]:
        """The ranges that were requested of a file, without those of one byte that ask for its size."""
        return [wanted for path, wanted in self.requests if path == f"/{name}" and wanted != "bytes=0-0"]


class ShardRequest(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    served: ShardServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.name = parts.path.lstrip("/")
        self.wanted = self.headers.get("Range", "")
        self.served.requests.append((parts.path, self.wanted))
        self.served.queries.add(parts.query)
        for place, fault in enumerate(list(self.served.faults)):
            # Before it acts: one that stalls is still acting at the next request.
            del self.served.faults[place]
            if fault(self):
                return
            self.served.faults.insert(place, fault)
        self.answer()

    @property
    def is_download(self) -> bool:
        return self.wanted != "bytes=0-0" and self.name.endswith((".tar", ".parquet"))

    def content(self) -> bytes | None:
        try:
            return (self.served.folder / self.name).read_bytes()
        except OSError:
            return None

    def refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, *, shift: int = 0, only: int | None = None, ranges: bool = True, swap: bool = False) -> None:
        """The file's range. `shift`: another one; `only`: break off after so many bytes; `swap`: damaged bytes."""
        content = self.content()
        if content is None:
            self.refuse(404)
            return
        found = re.match(r"bytes=(\d+)-(\d*)", self.wanted) if ranges else None
        first, last = 0, len(content) - 1
        if found is not None and int(found[1]) >= len(content):
            self.refuse(416, Content_Range=f"bytes */{len(content)}")
            return
        if found is not None:
            first = int(found[1]) + shift
            last = min(last, int(found[2])) if found[2] else last
        body = content[first : last + 1]
        self.send_response(200 if found is None else 206)
        if found is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if swap:
            body = body[:-600] + bytes(byte ^ 0xFF for byte in body[-600:])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body if only is None else body[:only])
        if only is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextlib.contextmanager
def shard_server(folder: Path) -> Iterator[ShardServer]:
    """Serve `folder` on a free port of this machine."""
    served = ShardServer(folder)
    handler = type("Handler", (ShardRequest,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def of_downloads(fault: Callable[[ShardRequest], None], name: str = "") -> Fault:
    """Use `fault` for the next download of a shard, or of the shard `name`."""

    def used(request: ShardRequest) -> bool:
        if not request.is_download or (name and request.name != name):
            return False
        fault(request)
        return True

    return used


def unavailable(request: ShardRequest) -> None:
    request.refuse(503, Retry_After="0")


def stalling(request: ShardRequest) -> None:
    """Half a shard, and then nothing until the server ends."""
    content = request.content() or b""
    first = int(request.wanted.removeprefix("bytes=").rstrip("-"))
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    request.send_header("Content-Length", str(len(content) - first))
    request.end_headers()
    request.wfile.write(content[first : len(content) // 2])
    request.wfile.flush()
    request.served.released.wait(20)
    request.close_connection = True


def breaking_off(request: ShardRequest) -> None:
    request.answer(only=3000)


def wrong_range(request: ShardRequest) -> None:
    request.answer(shift=512)


def without_ranges(request: ShardRequest) -> None:
    request.answer(ranges=False)


def damaging(request: ShardRequest) -> None:
    request.answer(swap=True)
