"""Hosts for tests: network and UTS namespaces with addresses of their own on a bridge, a real sshd in each."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest
from skipped_tests import SERVICES

_TIMEOUT = 20.0
_PORT = 22
_PRIVATE_SIZE = "256m"


def _program(name: str) -> str:
    return shutil.which(name) or shutil.which(f"/usr/sbin/{name}") or ""


def _can_make_namespaces() -> bool:
    """Whether a namespace and a bridge can be made: containers often forbid that to root, too."""
    name = f"gp{secrets.token_hex(3)}"
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True, capture_output=True)
        subprocess.run(["ip", "link", "del", name], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def cannot_make_hosts() -> str:
    """Why there can be no such hosts here; empty if there can."""
    missing = [name for name in ("ip", "ssh", "ssh-keygen", "sshd", "unshare", "mount") if not _program(name)]
    if missing:
        return f"not installed: {', '.join(missing)}: {SERVICES}"
    if os.getuid() or not _can_make_namespaces():
        return "network namespaces need root with CAP_NET_ADMIN"
    return ""


def cannot_limit_links() -> str:
    """Why the links of such hosts can't be slowed down here; empty if they can."""
    if reason := cannot_make_hosts():
        return reason
    name = f"gp{secrets.token_hex(3)}"
    try:
        _run("ip", "link", "add", name, "type", "bridge")
        _run("tc", "qdisc", "add", "dev", name, "root", "tbf", "rate", "1mbit", "burst", "16kb", "latency", "400ms")
    except (OSError, subprocess.CalledProcessError):
        return "slow links need tc (iproute2) and the kernel's sch_tbf"
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
    return ""


def needs_network_hosts() -> pytest.MarkDecorator:
    """Skips where there can be no such hosts."""
    reason = cannot_make_hosts()
    return pytest.mark.skipif(bool(reason), reason=reason)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class NetworkHost:
    """One host."""

    def __init__(self, name: str, number: int, network: str, tag: str, folder: Path, private: Path | None) -> None:
        self.name, self.address = name, f"{network}.{number + 1}"
        self._space, self._outer, self._inner = f"{tag}n{number}", f"{tag}v{number}", f"{tag}w{number}"
        self._bridge, self._folder, self._private = f"{tag}br", folder, private
        self._server: subprocess.Popen[bytes] | None = None
        _run("ip", "netns", "add", self._space)
        _run("ip", "link", "add", self._outer, "type", "veth", "peer", "name", self._inner)
        _run("ip", "link", "set", self._inner, "netns", self._space)
        _run("ip", "link", "set", self._outer, "master", self._bridge)
        _run("ip", "link", "set", self._outer, "up")
        inside = ("ip", "-n", self._space)
        _run(*inside, "addr", "add", f"{self.address}/24", "dev", self._inner)
        _run(*inside, "link", "set", self._inner, "up")
        _run(*inside, "link", "set", "lo", "up")
        self.boot()

    @property
    def interface(self) -> str:
        """The network interface with `address`."""
        return self._inner

    def boot(self) -> None:
        """Start the server; returns once connections are accepted."""
        mounts = ""
        if self._private is not None:
            mounts = f"mount -t tmpfs -o size={_PRIVATE_SIZE} tmpfs {shlex.quote(str(self._private))}; "
        config = shlex.quote(str(self._folder / "sshd_config"))
        inside = f"hostname {self.name}; {mounts}exec {_program('sshd')} -D -e -f {config}"
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._server = subprocess.Popen(
                ["ip", "netns", "exec", self._space, "unshare", "--uts", "--mount", "sh", "-c", inside],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + _TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, _PORT), 1):
                return
            assert self._server.poll() is None, (self._folder / f"{self.name}.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def sees(self, path: Path) -> Path:
        """A file or folder of this host's own, as a path that is valid outside of it."""
        return Path(f"/proc/{self._pid}/root{path}")

    def processes(self, words: str = "") -> list[psutil.Process]:
        """The processes of logins on this host whose command line has `words`."""
        found = []
        listed = subprocess.run(["ip", "netns", "pids", self._space], check=False, capture_output=True, text=True)
        for pid in listed.stdout.split():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                if words in " ".join(process.cmdline()) and (words or process.pid != self._pid):
                    found.append(process)
        return found

    @property
    def _pid(self) -> int:
        return self._server.pid if self._server is not None else 0

    def inside(self, *words: str) -> list[str]:
        """The command that runs `words` on this host."""
        return ["nsenter", f"--target={self._pid}", "--net", "--uts", "--mount", "--", *words]

    def agents(self) -> list[psutil.Process]:
        """The node agents."""
        return [one for one in self.processes("gputrain.engine.nodes") if "python" in one.name()]

    def rank_servers(self) -> list[psutil.Process]:
        """The processes that the agents let fork the ranks."""
        return [
            one for agent in self.agents() for one in agent.children() if "multiprocessing.forkserver" in _line(one)
        ]

    def ranks(self) -> list[psutil.Process]:
        """The ranks that the agents have started, and what those started."""
        found = []
        for agent in self.agents():
            with contextlib.suppress(psutil.Error):
                # The agent's own children are the rank server and multiprocessing's resource tracker.
                own = agent.children()
                found += [one for one in agent.children(recursive=True) if one not in own]
        return found

    def pythons(self) -> list[psutil.Process]:
        """All Python processes."""
        return [one for one in self.processes() if "python" in _line(one)]

    def cut(self) -> None:
        """Take the link down: no packet goes, no connection is reset."""
        _run("ip", "link", "set", self._outer, "down")

    def mend(self) -> None:
        """Take the link up again."""
        _run("ip", "link", "set", self._outer, "up")

    def drop_packets_to(self, address: str) -> None:
        """Send nothing to one address: who connects from there gets no answer."""
        _run("ip", "-n", self._space, "route", "add", "blackhole", address)

    def send_packets_to(self, address: str) -> None:
        """Undo `drop_packets_to`."""
        _run("ip", "-n", self._space, "route", "del", "blackhole", address)

    def limit_link(self, rate: str) -> None:
        """Let the link to this host carry ``256kbit`` a second, for example; empty: no limit."""
        limit = ("tbf", "rate", rate, "burst", "16kb", "latency", "400ms") if rate else ()
        _run("tc", "qdisc", "replace" if rate else "del", "dev", self._outer, "root", *limit)

    def kill(self) -> int:
        """Kill every process of the host, as a power failure does. Returns how many."""
        processes = [*self.processes(), psutil.Process(self._pid)]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=_TIMEOUT)
        if self._server is not None:
            self._server.wait()
        return len(processes)

    def remove(self) -> None:
        """End everything and remove the namespace."""
        with contextlib.suppress(psutil.Error):
            self.kill()
        if self._server is not None:
            self._server.wait()
        subprocess.run(["ip", "netns", "del", self._space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._outer], check=False, capture_output=True)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Network:
    """Some hosts on one bridge; `ssh` is what $GPUTRAIN_SSH has to be to reach them by their names."""

    def __init__(
        self, folder: Path, names: Sequence[str], environment: Mapping[str, str], private: Path | None
    ) -> None:
        tag = f"g{secrets.token_hex(2)}"
        self._bridge = f"{tag}br"
        network = f"10.{secrets.randbelow(56) + 200}.{secrets.randbelow(250) + 1}"
        self.address = f"{network}.1"
        """This machine's own address on the bridge."""
        for key in ("host_key", "user_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key))
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        (folder / "authorized_keys").chmod(0o600)
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        (folder / "sshd_config").write_text(
            f"Port {_PORT}\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nUseDNS no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv {variables}\n"
        )
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{network}.1/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        self.hosts: list[NetworkHost] = []
        try:
            for number, name in enumerate(names, start=1):
                self.hosts.append(NetworkHost(name, number, network, tag, folder, private))
        except BaseException:
            self.remove()
            raise
        lines = "".join(f"Host {host.name}\n  HostName {host.address}\n" for host in self.hosts)
        (folder / "ssh_config").write_text(
            f"{lines}Host gone\n  HostName {network}.99\n"
            f"Host *\n  User {getpass.getuser()}\n  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n"
            f"  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {folder}/known_hosts\n  LogLevel ERROR\n"
        )
        self.ssh = f"ssh -F {folder}/ssh_config"

    def remove(self) -> None:
        """Remove all hosts and the bridge."""
        for host in self.hosts:
            host.remove()
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)


@contextlib.contextmanager
def network_hosts(
    folder: Path, names: Sequence[str], environment: Mapping[str, str], private: Path | None = None
) -> Iterator[Network]:
    """Hosts for as long as the context is open. Logins get `environment`.

    `private`: a folder in whose place each host has an empty one of its own; everything else is shared.
    """
    folder.mkdir(mode=0o700)
    network = Network(folder, names, environment, private)
    try:
        yield network
    finally:
        network.remove()
