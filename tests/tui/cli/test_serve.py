"""The dashboard in a browser: over its own HTTP and websocket, and in a headless Chromium."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from helpers.tui import scripted
from PIL import Image
from skipped_tests import SERVICES

from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_log import RecordWriter
from gputrain.tui.render.theme import NIGHT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gputrain.tui.cli", "serve", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")


@pytest.fixture
def link() -> Iterator[str]:
    """A server for a run that is over; the link that it has printed."""
    run = run_directory.create("shown")
    writer = RecordWriter(run.events)
    for event in [*scripted.start(), *(event for event, _ in scripted.training(5))]:
        writer.append(event)
    writer.close()
    server = serve("last", "--port", str(free_port()))
    assert server.stdout is not None
    try:
        said = server.stdout.readline()
        assert said.startswith("serving on http://127.0.0.1:"), server.communicate()
        yield said.split()[-1]
    finally:
        server.terminate()
        server.communicate(timeout=30)


async def test_only_the_link_opens_it(link: str) -> None:
    address, _, key = link.partition("?key=")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as stranger:
        for path in ("", "?key=wrong", "ws", "static/js/textual.js", f"ws?key={key}"):
            async with stranger.get(address + path) as answer:
                assert answer.status == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await stranger.ws_connect(f"{address}ws")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as known:
        async with known.get(link) as answer:
            assert answer.status == 200
            assert "key=" not in str(answer.url)
            assert key not in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await known.ws_connect(f"{address}ws", headers={"Origin": "http://127.0.0.1:1"})


async def test_the_dashboard_comes_over_the_websocket_and_takes_keys(link: str) -> None:
    address = link.partition("?")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        await browser.get(link)
        async with browser.ws_connect(f"{address}ws?width=120&height=35") as pipe:
            await until(pipe, b"Throughput")
            await until(pipe, b"NVIDIA GeForce RTX 3090")
            await pipe.send_str(json.dumps(["stdin", "?"]))
            await until(pipe, b"Escape closes")


async def until(pipe: aiohttp.ClientWebSocketResponse, wanted: bytes) -> None:
    """Read what is sent until it holds `wanted`."""
    sent = b""
    while wanted not in ESCAPES.sub(b"", sent):
        message = await asyncio.wait_for(pipe.receive(), 60)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), sent[-500:]
        sent += message.data if isinstance(message.data, bytes) else message.data.encode()


@asynccontextmanager
async def chromium(folder: Path, address: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A headless browser on `address`, at home in an empty folder: the connection that its developer tools have."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,800"]
    # It asks nobody on the Internet for anything.
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder}", "--remote-debugging-port=0", address]
    folder.mkdir()
    browser = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"HOME": str(folder)}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        told = folder / "DevToolsActivePort"
        while not (told.exists() and told.read_text().count("\n")):
            assert browser.returncode is None, "the browser has ended"
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as client:
            while True:
                async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [page for page in await answer.json() if page["type"] == "page"]
                if pages:
                    break
                await asyncio.sleep(0.05)
            async with client.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=1 << 25) as tools:
                yield tools
    finally:
        browser.terminate()
        await browser.wait()


async def ask(tools: aiohttp.ClientWebSocketResponse, method: str, **arguments: object) -> dict[str, Any]:
    """What the browser answers."""
    await tools.send_json({"id": 1, "method": method, "params": arguments})
    while (answer := await tools.receive_json(timeout=60)).get("id") != 1:
        pass
    result: dict[str, Any] = answer["result"]
    return result


async def painted(tools: aiohttp.ClientWebSocketResponse) -> dict[Any, int]:
    """How many pixels of each colour the page has."""
    shot = await ask(tools, "Page.captureScreenshot", format="png")
    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as page:
        return {colour: count for count, colour in page.convert("RGB").getcolors(1 << 21) or []}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium is installed: {SERVICES}")
async def test_a_browser_paints_it_and_its_keys_reach_it(link: str, tmp_path: Path) -> None:
    background, bars = rgb(str(NIGHT.background)), rgb(str(NIGHT.secondary))
    async with chromium(tmp_path / "browser", link) as tools:
        while True:
            colours = await painted(tools)
            # The dashboard has come when the theme covers the page and bars are drawn upon it.
            if colours.get(background, 0) > 400_000 and colours.get(bars, 0) > 100:
                break
            await asyncio.sleep(0.2)
        for kind in ("mousePressed", "mouseReleased"):
            await ask(tools, "Input.dispatchMouseEvent", type=kind, x=700, y=60, button="left", clickCount=1)
        for kind in ("keyDown", "keyUp"):
            await ask(tools, "Input.dispatchKeyEvent", type=kind, key="?", text="?", windowsVirtualKeyCode=191)
        # The help covers the bars and dims what is behind it.
        while (await painted(tools)).get(bars, 0) > colours[bars] / 2:
            await asyncio.sleep(0.2)


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no runs"),
        (["--port", "80"], "must be a port from 1024 to 65535"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
    ],
)
def test_bad_input(arguments: list[str], message: str) -> None:
    server = serve(*arguments)
    _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    assert message in said
    assert "Traceback" not in said


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = serve("--port", str(other.getsockname()[1]))
        _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    assert "in use" in said
