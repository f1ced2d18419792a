"""A real OpenSSH server on loopback, run by the test's own user, with keys of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from skipped_tests import SERVICES

_TIMEOUT = 20.0


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(f"/usr/sbin/{name}")


def needs_sshd() -> pytest.MarkDecorator:
    """Skips where OpenSSH's client or server is not installed."""
    missing = [name for name in ("ssh", "ssh-keygen", "sshd") if _program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}: {SERVICES}")


class Sshd:
    """The server; `ssh` is what $GPUTRAIN_SSH has to be to reach it as host ``box``."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Logins get `environment`. `folder` must be writable by its owner alone."""
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for key in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "authorized_keys").chmod(0o600)
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv {variables}\n"
        )
        (folder / "ssh_config").write_text(
            f"Host box\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n"
            f"  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {folder}/known_hosts\n"
        )
        self.ssh = f"ssh -F {folder}/ssh_config"
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Serve; returns once connections are taken."""
        if os.getuid() == 0:
            # The server's own sandbox; only root needs it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        server = _program("sshd")
        assert server is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(
                [server, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + _TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._server.poll() is None, (self.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def sessions(self) -> list[psutil.Process]:
        """The server's processes for connections that are open, those started by logins included."""
        assert self._server is not None
        return psutil.Process(self._server.pid).children(recursive=True)

    def cut(self) -> int:
        """Break all connections as a dead network does: no word of farewell. Returns how many processes went."""
        return _kill(self.sessions())

    def stop(self) -> None:
        """Serve no more, and break what is open."""
        sessions = self.sessions()
        # First, or a client whose connection is broken is back before it is gone.
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        _kill(sessions)


def _kill(processes: list[psutil.Process]) -> int:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=_TIMEOUT)
    return len(processes)


@contextlib.contextmanager
def sshd(folder: Path, environment: Mapping[str, str]) -> Iterator[Sshd]:
    """A server for as long as the context is open."""
    folder.mkdir(mode=0o700)
    server = Sshd(folder, environment)
    try:
        yield server
    finally:
        server.stop()
