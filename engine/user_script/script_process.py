"""A script of the user's own as a child of the supervisor: its start, signals, events and what it leaves behind.

It has the methods of `TrainerProcess`, so that one supervisor serves both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from gputrain.engine import probe
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import AnyEvent, Notice, encode
from gputrain.engine.events.commands import AnyCommand, ProfileCommand, StopCommand, TuneCommand
from gputrain.engine.processes.orphans import adopt_orphans
from gputrain.engine.runs import process_identity
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.user_script import terminal_relay
from gputrain.engine.user_script.page_reader import PageFolder, new_folder
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import ScriptEvents

PAGES_VARIABLE = "GPUTRAIN_EXEC_PAGES"
_POLL_SECONDS = 0.25
_LOOK_SECONDS = 0.05
_TERMINAL_SIZE = (50, 160)
_NAMED = 3
_GRACE_SECONDS = 1.0
_ENDING = {signal.SIGINT, signal.SIGTERM}


class ScriptProcess:
    """One life of a script. Make it on the main thread."""

    def __init__(
        self, run: RunDir, command: ScriptCommand, on_event: Callable[[bytes], None], hang_seconds: float = 0.0
    ) -> None:
        """`on_event` gets each encoded event, on a thread. `hang_seconds`: see `HangWatch`.

        Raises OSError if the command can't be started.
        """
        adopt_orphans()
        self._on_event = on_event
        self._folder = PageFolder(new_folder(run.id))
        self._asked: set[int] = set()
        self._relay: subprocess.Popen[bytes] | None = None
        self._process = self._start(run, command)
        # Whoever starts the run again after this supervisor was killed must know that its command goes on.
        with contextlib.suppress(OSError):
            write_atomic(run.trainer_lock, msgspec.json.encode(process_identity.of_process(self._process.pid)))
        self._script = ScriptEvents(self._folder, command, time.monotonic(), hang_seconds)
        self._requests: deque[TuneCommand | ProfileCommand] = deque()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, name="script pages", daemon=True)
        self._reader.start()

    def _start(self, run: RunDir, command: ScriptCommand) -> subprocess.Popen[bytes]:
        log = os.open(run.trainer_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        output = log
        try:
            if command.terminal:
                output = self._open_terminal(log)
            # Whatever this process ignores, the script would ignore, too.
            before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
            try:
                return subprocess.Popen(
                    command.argv,
                    cwd=command.cwd,
                    env=environment(dict(os.environ), command, self._folder.folder),
                    stdin=None,  # of this process: what exec was given, else /dev/null
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    umask=command.umask,
                )
            finally:
                signal.signal(signal.SIGHUP, before)
                _forget_input()
        finally:
            os.close(log)
            if output != log:
                os.close(output)

    def _open_terminal(self, log: int) -> int:
        """The script's side of a new pseudo-terminal, whose other side a process of its own copies to `log`."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_TERMINAL_SIZE, 0, 0))
        self._relay = subprocess.Popen(
            [sys.executable, "-I", "-S", terminal_relay.__file__, str(ours)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.DEVNULL,
            pass_fds=(ours,),
            start_new_session=True,
        )
        os.close(ours)
        return theirs

    @property
    def pid(self) -> int | None:
        """Process id of the command."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def killed_on_request(self) -> bool:
        """It was ended by a signal that a person asked for, or ended itself after one: a shell returns 128 and the
        signal's number, a script that saves first may return 0."""
        code = self.exit_code
        if code is None:
            return False
        return -code in self._asked or code - 128 in self._asked or (code == 0 and bool(_ENDING & self._asked))

    def _read(self) -> None:
        polled = 0.0
        while not self._over.wait(_LOOK_SECONDS):
            self._script.look_at_locks()
            now = time.monotonic()
            if now - polled >= _POLL_SECONDS:
                polled = now
                while self._requests:
                    self._send(self._script.take(self._requests.popleft()))
                self._send(self._script.poll(now))

    def _send(self, events: list[AnyEvent]) -> None:
        for event in events:
            self._on_event(encode(event))

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` (on a thread) once the command has ended, and what trains in its name, too."""

        def wait() -> None:
            self._process.wait()
            self._wait_for_trainers()
            self._over.set()
            self._reader.join()
            self._send(self._script.poll(time.monotonic(), last=True))
            self._send(_left_behind())
            if self._relay is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._relay.wait(1.0)
            self._script.close()
            self._folder.remove()
            on_exit()

        threading.Thread(target=wait, name="script watch", daemon=True).start()

    def _wait_for_trainers(self) -> None:
        """A command that started its training in the background has ended; its training goes on."""
        reported = False
        while alive := [pid for pid in self._script.trains if psutil.pid_exists(pid) and not _is_zombie(pid)]:
            if not reported and alive != [self._process.pid]:
                reported = True
                text = f"the command has ended; process {alive[0]} that it started goes on training"
                self._send([Notice(level="info", text=text, source="supervisor")])
            time.sleep(_POLL_SECONDS)

    def drain(self) -> Iterator[bytes]:
        """Nothing is left: all was sent before the end was reported."""
        return iter(())

    def send(self, command: AnyCommand) -> str:
        """Follow a command as far as that is possible; returns what became of it."""
        if isinstance(command, TuneCommand | ProfileCommand):
            self._requests.append(command)
            return "handed to the script"
        if not isinstance(command, StopCommand):
            return "a script of your own can't do that"
        number = signal.Signals(command.signal or (signal.SIGINT if command.checkpoint else signal.SIGTERM))
        if not self._signal(number):
            return "the command has ended"
        self._asked.add(int(number))
        return f"{number.name} sent to the command"

    def _signal(self, number: int) -> bool:
        """To the script's whole process group, as a terminal and a batch system do."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def kill(self) -> None:
        """End it now; for a person's "stop now" that it did not follow."""
        self._asked.add(signal.SIGKILL)
        self._signal(signal.SIGKILL)


def environment(mine: dict[str, str], command: ScriptCommand, pages: Path) -> dict[str, str]:
    """The environment of the script: that of the shell which started it, and what lets the probe in."""
    if command.inject:
        inject = str(Path(probe.__file__).with_name("inject"))
        mine["PYTHONPATH"] = os.pathsep.join(filter(None, (inject, mine.get("PYTHONPATH", ""))))
        mine[PAGES_VARIABLE] = str(pages)
    return mine


def _forget_input() -> None:
    """The command alone reads what it was given: who writes it must see that the command has ended."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def _left_behind() -> list[AnyEvent]:
    """Processes that the command left running: they are its business, and go on; said, not ended.

    Those that `multiprocessing` started for itself end a moment after it.
    """
    deadline = time.monotonic() + _GRACE_SECONDS
    while (found := _left_now()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    text = f"the command left processes running, which go on: {', '.join(found[:_NAMED])}{more}"
    return [Notice(level="warning", text=text, source="supervisor")]


def _left_now() -> list[str]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = " ".join(child.cmdline())
            # Without words: it is ending right now, as the relay does.
            if (
                not words
                or child.status() == psutil.STATUS_ZOMBIE
                or "gputrain.engine" in words
                or "terminal_relay" in words
            ):
                continue
            found.append(f"{plain(child.name(), 40)} (pid {child.pid})")
    return found
