"""Privacy: file modes, sockets, keys, and files of another user."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gputrain.engine.events.commands import StopCommand, encode_command
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.event_channel import Client, Server
from gputrain.engine.runs.run_directory import RunDir

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")


@pytest.fixture
def served(private_homes: Path) -> Iterator[tuple[RunDir, Server, list[bytes]]]:
    taken: list[bytes] = []
    run = run_directory.create("demo")
    server = Server(run, taken.append)
    yield run, server, taken
    server.close()


def test_modes(served: tuple[RunDir, Server, list[bytes]]) -> None:
    run, server, _ = served
    assert stat.S_IMODE(run.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(run.checkpoints.stat().st_mode) == 0o700
    assert stat.S_IMODE(run.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


@contextlib.contextmanager
def acting_as_nobody() -> Iterator[None]:
    """This process has the rights of another user for a while."""
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@needs_root
def test_another_user_reaches_neither_socket_nor_key(
    served: tuple[RunDir, Server, list[bytes]], private_homes: Path
) -> None:
    run, server, taken = served
    # Even where all folders above are open to the world.
    for folder in (run.directory.parent, run.directory.parent.parent, *private_homes.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    with acting_as_nobody():
        with socket.socket(socket.AF_UNIX) as one, pytest.raises(PermissionError):
            one.connect(str(server.path))
        with pytest.raises(PermissionError):
            run.key.read_bytes()
        with pytest.raises(PermissionError):
            list(run.directory.iterdir())
    assert taken == []


@needs_root
def test_a_socket_of_another_user_is_not_used(served: tuple[RunDir, Server, list[bytes]]) -> None:
    run, server, _ = served
    for path in (run.key, server.path, run.directory):
        os.chown(path, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            Client(run, server.path)
        os.chown(path, 0, 0)
    Client(run, server.path).send(encode_command(StopCommand()))


def test_a_key_that_others_may_read_is_not_used(served: tuple[RunDir, Server, list[bytes]]) -> None:
    run, server, _ = served
    run.key.chmod(0o644)
    with pytest.raises(PermissionError):
        Client(run, server.path)


def test_commands_without_the_key_are_refused(served: tuple[RunDir, Server, list[bytes]]) -> None:
    run, server, taken = served
    run.key.write_bytes(b"x" * 32)
    with pytest.raises(Exception, match=r"digest|rejected"):
        Client(run, server.path)
    assert taken == []


def test_garbage_on_the_socket_does_no_harm(served: tuple[RunDir, Server, list[bytes]]) -> None:
    run, server, taken = served
    for nonsense in (b"", b"\x00\x00\x00\x04abcd", b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(server.path))
            one.sendall(nonsense)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    for one in silent:
        one.connect(str(server.path))
    done = threading.Event()

    def command() -> None:
        Client(run, server.path).send(encode_command(StopCommand()))
        done.set()

    threading.Thread(target=command, daemon=True).start()
    assert done.wait(30), "those who say nothing keep others out"
    for one in silent:
        one.close()
    assert len(taken) == 1


@needs_root
def test_a_run_of_another_user_is_only_read(private_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that names a socket is no reason to connect to it: its replies would be unpickled."""
    run = run_directory.create("theirs")
    run.events.touch()
    with socket.socket(socket.AF_UNIX) as trap:
        # By its short name: a socket's path has 107 bytes at most.
        monkeypatch.chdir(run.directory)
        trap.bind("channel.sock")
        trap.listen()
        os.chown(run.directory / "channel.sock", NOBODY, NOBODY)
        run.key.write_bytes(b"k" * 32)
        run.key.chmod(0o600)
        trap.settimeout(0.2)
        with pytest.raises(PermissionError):
            Client(run, run.directory / "channel.sock")
        with pytest.raises(TimeoutError):
            trap.accept()
    attachment = launch.attach(run)
    assert attachment.read(timeout=0.0) == []
    attachment.close()
