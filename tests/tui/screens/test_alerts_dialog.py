"""The dialog of alerts, with a real HTTP server and a real command."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.tui.dashboards import opened as dashboard_opened
from helpers.tui.dashboards import trained
from helpers.tui.launching import Starts, opened, press, shown
from helpers.tui.piloting import until
from textual.widgets import Button

from gputrain.tui.app import GpuTrainApp
from gputrain.tui.screens.launcher.alerts_dialog import AlertsScreen

SECRET = "T0PS3CRET"


class Server:
    """Answers one path with 404, and any other one once it may."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.may_answer = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.endswith("/gone"):
                    outer.may_answer.wait(60)
                self.send_response(404 if self.path.endswith("/gone") else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{SECRET}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of alert settings."""
    monkeypatch.setenv("GPUTRAIN_CONFIG", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "alerts.yaml"
    path.touch(0o600)
    return path


async def test_the_button_sends_a_test_and_shows_each_answer(tmp_path: Path, settings: Path, server: Server) -> None:
    settings.write_text(
        f"webhooks:\n  - url: {server.url}\n  - url: {server.url}/gone\n    format: ntfy\n"
        f"command: [sh, -c, 'cat > {tmp_path}/got; exit 3']\n"
    )
    async with opened(Starts(tmp_path)) as pilot:
        await press(pilot, "a")
        await until(pilot, lambda: "webhook 2 (ntfy)" in shown(pilot))
        assert server.bodies == []
        await pilot.click("#send")
        await until(pilot, lambda: "not delivered: HTTP 404" in shown(pilot) and "ended with code 3" in shown(pilot))
        # One target has not answered: the screen goes on, and no second test is sent.
        assert "waiting for its answer" in shown(pilot)
        await pilot.press("t")
        assert pilot.app.screen.query_one("#send", Button).disabled
        server.may_answer.set()
        await until(pilot, lambda: "● delivered" in shown(pilot))
        assert SECRET not in shown(pilot)
        assert len(server.bodies) == 2
        assert json.loads((tmp_path / "got").read_text())["kind"] == "test"
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, AlertsScreen)


async def test_a_wrong_file_is_shown_as_text(tmp_path: Path, settings: Path) -> None:
    settings.write_text('kinds: ["[bold]f\\e[31mnished"]\n')
    async with opened(Starts(tmp_path)) as pilot:
        await press(pilot, "a")
        await until(pilot, lambda: "alerts.yaml:1:" in shown(pilot).replace("\n", ""))
        assert "[bold]f" in shown(pilot)
        assert "\x1b" not in shown(pilot)
        assert pilot.app.screen.query_one("#send", Button).disabled


async def test_a_dashboard_opens_it_from_the_palette(settings: Path) -> None:
    async with dashboard_opened(trained()) as pilot:
        app = pilot.app
        assert isinstance(app, GpuTrainApp)
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        commands["Alerts"]()
        await until(pilot, lambda: isinstance(app.screen, AlertsScreen) and "no targets yet" in shown(pilot))
