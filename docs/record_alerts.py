"""Record a session of alerts: a test, a script that fails and a training that finishes, to a command and a webhook.

    python docs/record_alerts.py docs/alerts-session.txt        about a minute

The webhook is a real web server on loopback, which is out of order at first. Nothing in the file is written by hand:
lines in brackets say what arrived where and what this script did; all others are what the commands printed, with the
second in which they did. Only this machine's name and places are written as box and ~.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "gputrain.tui.cli"]
SETTINGS = """\
kinds: [finished, failed, died, stalled]
command: [sh, -c, "(cat; echo) >> ~/alerts.jsonl"]
webhooks:
  - url: ${HOOK}
"""
FAILS = "exec --name broken --plain -- python -c \"raise SystemExit('no such file: train.csv')\""
FINISHES = "train --recipe demo name=demo width=8 batch_size=32 max_steps=12 num_workers=1 --plain"
TIMEOUT = 120.0
_SHOWN = ("kind", "title", "text", "name", "host", "step", "loss", "exit_code")


class Recorder:
    """Lines as they come, each with the second since the beginning."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Note a line."""
        with self._lock:
            self.lines.append(f"{time.monotonic() - self._began:6.1f} s  {text.rstrip()}")

    def run(self, command: str) -> None:
        """Run a command to its end, and note what it prints as it comes."""
        self.add(f"$ gputrain-tui {command}")
        words = [sys.executable if word == "python" else word for word in shlex.split(command)]
        process = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            self.add(line)
        self.add(f"[exit code {process.wait(TIMEOUT)}]")

    def wait_for(self, words: str, count: int) -> None:
        """Until so many lines hold `words`. Raises TimeoutError."""
        until = time.monotonic() + TIMEOUT
        while sum(words in line for line in self.lines) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"not {count} lines with '{words}':\n" + "\n".join(self.lines))
            time.sleep(0.05)


class Hook:
    """A web server that notes the alerts that it gets; `failures` times it answers 503 instead."""

    def __init__(self, recorder: Recorder) -> None:
        self.failures = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = 503 if outer.failures else 200
                outer.failures = max(0, outer.failures - 1)
                recorder.add(f"[the webhook gets {_brief(body)} and answers {code}]")
                self.send_response(code)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def _brief(body: bytes) -> str:
    alert: dict[str, Any] = json.loads(body)
    return json.dumps({key: alert[key] for key in _SHOWN if alert[key] not in (None, "")}, ensure_ascii=False)


def _show_command(home: Path, recorder: Recorder) -> None:
    """Note the last alert that the command has got."""
    lines = (home / "alerts.jsonl").read_bytes().splitlines()
    recorder.add(f"[the command has got {len(lines)}, the last: {_brief(lines[-1])}]")


def record(home: Path) -> list[str]:
    """The session."""
    recorder = Recorder()
    hook = Hook(recorder)
    os.environ |= {"HOME": str(home), "HOOK": hook.url, "GPUTRAIN_HOME": str(home / "state")}
    os.environ["GPUTRAIN_CONFIG"] = str(home / ".config" / "gputrain")
    file = Path(os.environ["GPUTRAIN_CONFIG"]) / "alerts.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(SETTINGS)
    file.chmod(0o600)
    recorder.add(f"[{file}, mode 0600:]")
    for line in SETTINGS.splitlines():
        recorder.add(f"    {line}")
    recorder.run("alerts")
    recorder.add("[the webhook's server is out of order for two requests]")
    hook.failures = 2
    recorder.run("alerts test")
    _show_command(home, recorder)
    recorder.add("[the server is out of order again, for one request]")
    hook.failures = 1
    recorder.run(FAILS)
    recorder.wait_for('"kind": "failed"', 2)
    _show_command(home, recorder)
    recorder.run(FINISHES)
    recorder.wait_for('"kind": "finished"', 1)
    _show_command(home, recorder)
    return recorder.lines


def main() -> None:
    """Write the session to the file that is named."""
    real, host = str(Path.home()), re.escape(socket.gethostname())
    # The demo's images are drawn once for all sessions.
    os.environ.setdefault("GPUTRAIN_CACHE", str(Path(real) / ".cache" / "gputrain"))
    for name in ("http_proxy", "HTTP_PROXY"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="gputrain-record-", ignore_cleanup_errors=True) as folder:
        text = "\n".join(record(Path(folder))).replace(folder, "~").replace(real, "~").replace(sys.prefix, "~/venv")
    Path(sys.argv[1]).write_text(re.sub(rf"\b{host}\b", "box", text) + "\n")


if __name__ == "__main__":
    main()
