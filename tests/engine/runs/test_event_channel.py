"""The queue to dashboards: every reader sees all, a slow one learns what it missed, strangers get nothing."""

from __future__ import annotations

import os
import queue
import stat
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from pathlib import Path

import pytest

from gputrain.engine.runs import event_channel, run_directory
from gputrain.engine.runs.event_channel import Broadcast, Client, Server
from gputrain.engine.runs.run_directory import RunDir


@pytest.fixture
def served(private_homes: Path) -> Iterator[tuple[RunDir, Server, queue.Queue[bytes]]]:
    run = run_directory.create("demo")
    commands: queue.Queue[bytes] = queue.Queue()
    server = Server(run, commands.put)
    yield run, server, commands
    server.close()


def test_two_readers_each_see_everything(served: tuple[RunDir, Server, queue.Queue[bytes]]) -> None:
    run, server, _ = served
    clients = [Client(run, server.path) for _ in range(2)]
    for seq in range(1, 101):
        server.broadcast.put(seq, b"%d" % seq)
    for client in clients:
        cursor, lost, lines = client.get_many(0, 60, 0.5)
        assert (cursor, lost, len(lines)) == (60, 0, 60)
        cursor, lost, lines = client.get_many(cursor, 60, 0.5)
        assert (cursor, lost, lines[-1]) == (100, 0, b"100")
        assert client.get_many(cursor, 60, 0.0) == (100, 0, [])


def test_a_slow_reader_learns_how_many_it_missed() -> None:
    broadcast = Broadcast()
    total = event_channel.BUFFER_EVENTS + 500
    for seq in range(1, total + 1):
        broadcast.put(seq, b"")
    cursor, lost, lines = broadcast.get_many(100, 10, 0.0)
    assert (cursor, lost, len(lines)) == (510, 400, 10)


def test_numbers_may_begin_late_as_after_a_restart() -> None:
    broadcast = Broadcast()
    broadcast.put(5001, b"first of this supervisor")
    assert broadcast.get_many(5000, 10, 0.0) == (5001, 0, [b"first of this supervisor"])
    assert broadcast.get_many(4000, 10, 0.0) == (5001, 1000, [b"first of this supervisor"])


def test_commands_arrive(served: tuple[RunDir, Server, queue.Queue[bytes]]) -> None:
    run, server, commands = served
    Client(run, server.path).send(b"stop")
    assert commands.get(timeout=10) == b"stop"


def test_key_and_socket_are_private(served: tuple[RunDir, Server, queue.Queue[bytes]]) -> None:
    run, server, _ = served
    assert run.key.stat().st_mode & 0o777 == 0o600
    found = server.path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert found.st_mode & 0o777 == 0o600


def test_a_wrong_key_is_refused(served: tuple[RunDir, Server, queue.Queue[bytes]]) -> None:
    run, server, _ = served
    run.key.write_bytes(b"0" * 32)
    with pytest.raises(AuthenticationError):
        Client(run, server.path)


def test_a_directory_that_others_may_enter_is_not_trusted(
    served: tuple[RunDir, Server, queue.Queue[bytes]],
) -> None:
    run, server, _ = served
    run.directory.chmod(0o755)
    with pytest.raises(PermissionError):
        Client(run, server.path)


def test_a_long_path_gets_a_short_socket(private_homes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPUTRAIN_HOME", str(tmp_path / ("x" * 120)))
    run = run_directory.create("demo")
    server = Server(run, lambda _: None)
    try:
        assert len(os.fsencode(server.path)) <= 107
        server.broadcast.put(1, b"one")
        assert Client(run, server.path).get_many(0, 5, 0.5) == (1, 0, [b"one"])
    finally:
        server.close()
    assert not server.path.exists()


def test_a_client_learns_that_the_server_was_killed(private_homes: Path) -> None:
    run = run_directory.create("demo")
    code = (
        "import sys; from pathlib import Path; from gputrain.engine.runs.event_channel import Server;"
        "from gputrain.engine.runs.run_directory import RunDir; s = Server(RunDir(Path(sys.argv[1])), print);"
        "s.broadcast.put(1, b'one'); print(s.path, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    client = Client(run, Path(child.stdout.readline().strip()))
    assert client.get_many(0, 5, 0.5) == (1, 0, [b"one"])
    child.kill()
    child.communicate()
    with pytest.raises((OSError, EOFError)):
        client.get_many(1, 5, 0.5)
