#!/usr/bin/env bash
# fsspec over HTTP: the part of a file that a server answered with, and named in Content-Range, is taken for the part asked for.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv fsspec==2026.9.0 aiohttp==3.14.5
finding_python <<'PY'
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
from finding import report

os.environ["NO_PROXY"] = "127.0.0.1"
class OtherRange(BaseHTTPRequestHandler):
    """Answers 512 bytes later than asked for, and says so, as a cache in between may do."""

    def do_GET(self) -> None:
        first, last = (int(number) + 512 for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])

    def log_message(self, *args: object) -> None:
        pass


content = os.urandom(4096)
server = ThreadingHTTPServer(("127.0.0.1", 0), OtherRange)
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    found = fsspec.filesystem("http").cat_file(f"http://127.0.0.1:{server.server_address[1]}/file", start=1000, end=2000)
    seen = "the right bytes" if found == content[1000:2000] else "other bytes, those of 1512 to 2511"
    wrong = found == content[1512:2512]
except Exception as error:
    seen, wrong = f"{type(error).__name__}: {error}", False
report("bytes 1000 to 1999, or an error that names the range in Content-Range", seen, wrong)
PY
