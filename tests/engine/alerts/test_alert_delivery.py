"""Delivery: to a real HTTP server that also fails and stalls, a real command, and a real run."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import urllib3

from gputrain.engine.alerts import local_targets, webhook
from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.alert_settings import Webhook, read_alert_settings
from gputrain.engine.alerts.delivery import Delivery, Target
from gputrain.engine.alerts.webhook import DeliveryError
from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs.run_directory import RunDir

ALERT = Alert(kind="failed", title="flowers failed", text="<b>out of *memory*</b> @everyone", run="r1", step=3)
QUICK = urllib3.Retry(
    total=3, backoff_factor=0.01, status_forcelist=(429, 503), allowed_methods=None, raise_on_status=False
)
SECRET = "T0PS3CRET"


class Server:
    """A web server that records requests; `answers` are the status codes of the next ones, then 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.headers: dict[str, str] = {}
        """Of each answer."""
        self.stalls = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                if outer.stalls.is_set():
                    while outer.stalls.is_set():
                        time.sleep(0.02)
                    return
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{SECRET}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.stalls.clear()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server()) as made:
        yield made


def wait_until(holds: object, seconds: float = 60.0) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("form", ["json", "slack", "discord", "ntfy"])
def test_formats(server: Server, form: str) -> None:
    """Each service gets what it documents; nothing in the text mentions people or becomes markup."""
    webhook.post(Webhook(server.url, form, {"Authorization": "Bearer x"}), ALERT)  # type: ignore[arg-type]
    ((_, headers, body),) = server.requests
    assert headers["Authorization"] == "Bearer x"
    if form == "ntfy":
        assert body.decode() == f"{ALERT.title}\n{ALERT.text}"
        assert headers["Priority"] == "high"
        return
    sent = json.loads(body)
    assert headers["Content-Type"] == "application/json"
    if form == "json":
        assert (sent["kind"], sent["run"], sent["step"], sent["text"]) == ("failed", "r1", 3, ALERT.text)
    elif form == "slack":
        assert sent["text"] == "flowers failed\n&lt;b&gt;out of *memory*&lt;/b&gt; @everyone"
        assert sent["mrkdwn"] is False
    else:
        assert sent["content"] == f"{ALERT.title}\n{ALERT.text}"
        assert sent["allowed_mentions"] == {"parse": []}


def test_proxy_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = server.url.removeprefix("http://").removesuffix(f"/{SECRET}")
    monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{place}")
    monkeypatch.setenv("no_proxy", "inside.invalid")
    webhook.post(Webhook("http://alerts.invalid/hook"), ALERT, QUICK)
    ((path, headers, _),) = server.requests
    assert path == "http://alerts.invalid/hook"
    assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"user:p@ss"
    with pytest.raises(DeliveryError, match="no connection"):
        webhook.post(Webhook("http://inside.invalid/hook"), ALERT, QUICK)


def test_failing_server_is_tried_again(server: Server) -> None:
    server.answers = [503, 429]
    webhook.post(Webhook(server.url), ALERT, QUICK)
    assert len(server.requests) == 3
    server.answers = [503] * 4
    with pytest.raises(DeliveryError, match=r"^HTTP 503$"):
        webhook.post(Webhook(server.url), ALERT, QUICK)


@pytest.mark.parametrize("status", [301, 404])
def test_other_answers_are_final(server: Server, status: int) -> None:
    server.answers = [status]
    server.headers = {"Location": server.url}
    with pytest.raises(DeliveryError, match=str(status)):
        webhook.post(Webhook(server.url), ALERT)
    assert len(server.requests) == 1


def test_a_service_that_asks_for_hours_is_given_up(server: Server) -> None:
    """And one whose header cannot be read is tried again as without it."""
    server.answers, server.headers = [429], {"Retry-After": "7200"}
    with pytest.raises(DeliveryError, match=r"^HTTP 429: it asks to wait 7200 s$"):
        webhook.post(Webhook(server.url), ALERT)
    server.answers, server.headers = [429], {"Retry-After": "soon"}
    webhook.post(Webhook(server.url), ALERT)
    assert len(server.requests) == 3


def test_a_certificate_that_is_not_trusted_is_said(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: run .ci/install-services")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=alerts.invalid"]
    subprocess.run([*made, "-keyout", "key", "-out", "cert"], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(DeliveryError, match=r"^its certificate is not trusted: self-signed certificate$"):
            webhook.post(Webhook(f"https://127.0.0.1:{server.server_port}/{SECRET}"), ALERT, QUICK)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("url", [f"http://127.0.0.1:1/{SECRET}", f"http://[{SECRET}"])
def test_failure_does_not_show_the_address(url: str) -> None:
    with pytest.raises(DeliveryError) as raised:
        webhook.post(Webhook(url), ALERT, QUICK)
    assert SECRET not in str(raised.value)


def test_command_gets_json(tmp_path: Path) -> None:
    script = tmp_path / "on alert"
    script.write_text(f'#!/bin/sh\ncat > "{tmp_path}/got"; echo "$1" > "{tmp_path}/word"\n')
    script.chmod(0o700)
    local_targets.run_command(f"'{script}' 'two words'", ALERT)
    assert json.loads((tmp_path / "got").read_text())["title"] == "flowers failed"
    assert (tmp_path / "word").read_text() == "two words\n"


@pytest.mark.parametrize(
    ("command", "why"), [("/nowhere/x", "cannot be started"), ("false", "code 1"), ("sleep 60", "was killed")]
)
def test_failing_command(command: str, why: str) -> None:
    with pytest.raises(DeliveryError, match=why):
        local_targets.run_command(command, ALERT, 0.5)


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="was killed"):
        local_targets.run_command(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait"], ALERT, 1.0)
    left = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_an_error_in_a_target_is_said_and_the_next_alert_is_sent() -> None:
    failures: list[str] = []
    alerts = iter([ValueError(SECRET), None])

    def send(_alert: Alert) -> None:
        if (error := next(alerts)) is not None:
            raise error

    delivery = Delivery([Target("command", send)], failures.append)
    delivery.put(ALERT)
    delivery.put(ALERT)
    assert delivery.wait(60.0)
    assert failures == ["alert 'failed' was not delivered to command: ValueError"]


def test_mail(tmp_path: Path) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/words"; cat > "{tmp_path}/mail"\n')
    sendmail.chmod(0o700)
    local_targets.send_mail("me@example.org", ALERT, str(sendmail))
    mail = (tmp_path / "mail").read_text()
    assert "To: me@example.org\n" in mail
    assert "Subject: flowers failed\n" in mail
    assert (tmp_path / "words").read_text() == "-t -i\n"


def test_dead_target_delays_no_other(server: Server) -> None:
    """A stalled server does not hold back the command; alerts beyond the queue are reported."""
    server.stalls.set()
    done: list[Alert] = []
    failures: list[str] = []
    stalled = Target("webhook 1", lambda alert: webhook.post(Webhook(server.url), alert))
    delivery = Delivery([stalled, Target("command", done.append)], failures.append)
    for _ in range(60):
        delivery.put(ALERT)
        time.sleep(0.001)
    wait_until(lambda: len(done) == 60)
    assert not delivery.wait(0.1)
    assert any("dropped" in text for text in failures)
    assert any(text.endswith(" alerts were not delivered to webhook 1 within 0 s") for text in failures)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kinds: [finshed]", r"alerts.yaml:1: 'finshed' is no kind of alert; did you mean 'finished'\?"),
        ("email: me\ncommand: ' '", r"alerts.yaml:2: command must not be empty"),
        ('email: "me\\nBcc: you"', r"alerts.yaml:1: email must be one address"),
        ("email: me\nwebhook: x", r"alerts.yaml:2: .*unknown field `webhook`"),
        ("webhooks:\n  - url: x\n    format: teams", r"alerts.yaml:1: Invalid enum value 'teams'"),
        ('email: me\ncommand: "mail \'me"', r"alerts.yaml:2: command cannot be split .*No closing quotation"),
        ("slow_percent: 130", r"alerts.yaml:1: Expected `float` < 100"),
        (
            "webhooks:\n  - url: hooks.example.org/x",
            r"alerts.yaml:1: webhook 1: url must begin with https:// or http://",
        ),
        ("webhooks:\n  - url: ${NO_SUCH}", r"\$\{NO_SUCH\}: this environment variable is not set"),
    ],
)
def test_wrong_settings(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadInput, match=why):
        read_alert_settings(path)


def test_secrets_file_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text("webhooks:\n  - url: https://x/${TOKEN}\n    headers: {Authorization: 'Bearer ${TOKEN}'}\n")
    monkeypatch.setenv("TOKEN", SECRET)
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        read_alert_settings(path)
    path.chmod(0o600)
    (hook,) = read_alert_settings(path).webhooks
    assert (hook.url, hook.headers["Authorization"]) == (f"https://x/{SECRET}", f"Bearer {SECRET}")


def _run(tmp_path: Path, server: Server, *words: str, kinds: str = "[finished, failed, died]") -> subprocess.Popen[str]:
    config = tmp_path / "config"
    config.mkdir()
    command = f"cp /proc/self/status {tmp_path}/command"
    (config / "alerts.yaml").write_text(f"kinds: {kinds}\ncommand: {command}\nwebhooks:\n  - url: ${{HOOK}}\n")
    (config / "alerts.yaml").chmod(0o600)
    homes = {"GPUTRAIN_CONFIG": str(config), "GPUTRAIN_HOME": str(tmp_path / "state"), "HOOK": server.url}
    return subprocess.Popen(
        [sys.executable, "-m", "gputrain.tui.cli", *words],
        env={**os.environ, **homes},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_run_sends_its_end(tmp_path: Path, server: Server) -> None:
    """The end of a real run arrives, with the script's exit code; the address is in no file of the run."""
    server.answers = [503]  # a try that fails must not show the address either
    script = [sys.executable, "-c", "raise SystemExit(3)"]
    process = _run(tmp_path, server, "exec", "--name", "mine", "--plain", "--", *script)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 3, output
    wait_until(lambda: len(server.requests) == 2)
    sent = json.loads(server.requests[1][2])
    assert (sent["kind"], sent["name"], sent["exit_code"]) == ("failed", "mine", 3)
    (run,) = (tmp_path / "state" / "runs").iterdir()
    # The command can be ended, and can end what it starts.
    wait_until(lambda: "SigBlk:" in (tmp_path / "command").read_text() if (tmp_path / "command").exists() else False)
    masks = dict(line.split(":\t", 1) for line in (tmp_path / "command").read_text().splitlines() if "Sig" in line)
    assert (int(masks["SigBlk"], 16), int(masks["SigIgn"], 16) & 1 << (signal.SIGTERM - 1)) == (0, 0)
    assert SECRET not in output
    for file in run.rglob("*"):
        if file.is_file() and not stat.S_ISSOCK(file.stat().st_mode):
            assert SECRET.encode() not in file.read_bytes(), file


def test_a_wrong_file_refuses_a_script(tmp_path: Path, server: Server) -> None:
    process = _run(tmp_path, server, "exec", "--plain", "--", "true", kinds="[finshed]")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "alerts.yaml:1: 'finshed' is no kind of alert" in output
    assert not (tmp_path / "state" / "runs").exists()


def test_a_killed_supervisor_is_an_alert(tmp_path: Path, server: Server) -> None:
    process = _run(tmp_path, server, "exec", "--detach", "--", "sleep", "600")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    (folder,) = (tmp_path / "state" / "runs").iterdir()
    run = RunDir(folder)
    wait_until(lambda: (folder / "alerts.log").exists() and run.status() is not None and run.status().pid)  # type: ignore[union-attr]
    status = run.status()
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    wait_until(lambda: server.requests)
    assert json.loads(server.requests[0][2])["kind"] == "died"


def test_command_tests_all_targets(tmp_path: Path, server: Server) -> None:
    server.answers = [404]
    process = _run(tmp_path, server, "alerts", "test")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "webhook 1 (json): not delivered: HTTP 404" in output
    assert SECRET not in output


def test_an_interrupt_ends_a_command_without_a_traceback(tmp_path: Path, server: Server) -> None:
    server.stalls.set()
    process = _run(tmp_path, server, "alerts", "test")
    wait_until(lambda: server.requests)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in output
