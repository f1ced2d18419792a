"""The agent of one node: starts its ranks, tells the supervisor of them, and ends them when it is no longer heard.

One thread does everything but writing, probing, sampling and the start of ranks.
"""

from __future__ import annotations

import os
import platform
import select
import shutil
import sys
import time
from pathlib import Path

import msgspec

from gputrain.engine import events
from gputrain.engine.common.files import cache_home, state_home
from gputrain.engine.common.remote_urls import is_path
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events.commands import StopCommand, encode_command
from gputrain.engine.nodes import node_messages, rank_server
from gputrain.engine.nodes.agent_meeting import AgentMeeting
from gputrain.engine.nodes.checkpoint_copies import CheckpointReceiver, CheckpointSender
from gputrain.engine.nodes.node_messages import (
    AnyMessage,
    Beat,
    Begin,
    Command,
    Ended,
    FromRank,
    Halt,
    Halted,
    Leave,
    Log,
    Messages,
    MessageWriter,
    Missing,
    Offer,
    Part,
    Probe,
    Start,
    Stock,
)
from gputrain.engine.nodes.node_ranks import NodeRanks, RankStart, kill_descendants, node_directory, this_node
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import exit_reasons
from gputrain.engine.supervision.node_sampling import start_node_sampling

_TICK_SECONDS = 0.2
_BEAT_SECONDS = 1.0
_SAMPLE_SECONDS = 5.0
_STOP_SECONDS = 20.0
"""Time for the ranks to save a checkpoint and to end once the supervisor is gone."""
_READ_BYTES = 1 << 18
_LOG_BYTES = 1 << 16


class NodeAgent:
    """Reads messages on standard input and writes to standard output until the run is over or the link is lost."""

    def __init__(self, token: str) -> None:
        """`token`: printed before the first message."""
        self._input = 0
        output = os.dup(1)
        os.dup2(2, 1)  # whatever prints must not end up between the messages
        self._writer = MessageWriter(output, token)
        self._send = self._writer.put
        self._messages = Messages()
        self._heard = time.monotonic()
        self._begin: Begin | None = None
        self._run: RunDir | None = None
        self._own: RunDir | None = None
        """The node's own folder: its log, and checkpoints where the run directory is not shared."""
        self._log_file = Path(os.devnull)
        self._shared = False
        self._ranks: NodeRanks | None = None
        self._starting: RankStart | None = None
        """They are being started."""
        self._commands: list[bytes] = []
        """Commands that came meanwhile."""
        self._first_rank = 0
        self._meeting = AgentMeeting(self._send)
        self._sender: CheckpointSender | None = None
        self._receiver: CheckpointReceiver | None = None
        self._log: int | None = None
        self._log_rest = b""
        self._oom_before = 0
        self._sampled = False
        """The sampling of this machine was started."""
        self._leaving = False

    def main(self) -> int:
        """Returns the exit code."""
        beaten = 0.0
        try:
            while not self._leaving:
                if not self._read():
                    break
                now = time.monotonic()
                if now - beaten >= _BEAT_SECONDS:
                    beaten = now
                    self._send(Beat())
                self._watch_ranks()
                if self._begin is not None and now - self._heard > self._begin.timeout:
                    break
            if not self._leaving:
                self._stop_ranks()
        finally:
            if self._ranks is not None:
                self._poll_log()
            kill_descendants()
        self._writer.drain(2.0)
        return 0

    def _read(self) -> bool:
        """Handle what has come. Returns False at the end of the input."""
        ready, _, _ = select.select([self._input], [], [], _TICK_SECONDS)
        if not ready:
            return True
        data = os.read(self._input, _READ_BYTES)
        if not data:
            return False
        self._heard = time.monotonic()
        for message in self._messages.take(data):
            self._take(message)
        return True

    def _send_event(self, event: bytes) -> None:
        self._send(FromRank(event=event))

    def _send_sample(self, sample: events.NodeSample) -> None:
        if self._ranks is not None:
            self._send_event(events.encode(sample))

    def _take(self, message: AnyMessage) -> None:
        match message:
            case Begin():
                self._prepare(message)
            case Offer(address=address):
                self._meeting.offer(address)
            case Probe():
                self._meeting.probe(message)
            case Stock(index=index):
                self._take_stock(index)
            case Part():
                assert self._receiver is not None
                self._receiver.take(message)
            case Start():
                self._start(message)
            case Command(command=command):
                if self._ranks is not None:
                    self._ranks.send(command)
                elif self._starting is not None:
                    self._commands.append(command)
            case Halt():
                self._halt()
            case Leave(keep=keep):
                self._leaving = True
                if self._own is not None and not keep:
                    shutil.rmtree(self._own.directory, ignore_errors=True)

    def _prepare(self, begin: Begin) -> None:
        self._begin = begin
        problem = ""
        given = Path(begin.directory)
        try:
            self._shared = (given / node_messages.SHARED_FILE).read_text() == begin.token
        except (OSError, UnicodeError):
            self._shared = False
        try:
            self._own = node_directory(state_home(), given.name)
            self._run = RunDir(given) if self._shared else self._own
            self._log_file = self._own.directory / f"{platform.node()}.log"
            self._log = os.open(self._log_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.lseek(self._log, 0, os.SEEK_END)
            # It imports torch while the nodes meet.
            rank_server.start(self._log_file)
        except OSError as error:
            where = plain(str(error.filename or ""), 200)
            problem = f"{where}: {error.strerror}; set GPUTRAIN_HOME there to a folder that can be written"
        if begin.data_dir and is_path(begin.data_dir) and not Path(begin.data_dir).exists():
            problem = f"data_dir: {plain(begin.data_dir, 200)} does not exist there"
        self._send(this_node(shared=self._shared, problem=problem))

    def _take_stock(self, index: bytes) -> None:
        assert self._run is not None
        if self._shared:
            self._send(Missing(files=()))
            return
        self._receiver = CheckpointReceiver(self._run.checkpoints)
        self._send(Missing(files=self._receiver.missing(index)))

    def _start(self, start: Start) -> None:
        assert self._run is not None
        assert self._begin is not None
        config = msgspec.json.decode(start.config, type=RunConfig)
        if config.resume_from == self._begin.directory:
            config = settings.replace(config, resume_from=str(self._run.directory))
        listener = self._meeting.take(start)
        self._oom_before = exit_reasons.oom_kills()
        own = msgspec.structs.replace(start, config=msgspec.json.encode(config))
        run, log = self._run, self._log_file
        self._first_rank = start.first_rank
        self._starting = RankStart(lambda: NodeRanks(own, run, log, listener, self._send_event))
        if start.first_rank == 0 and not self._shared:
            self._sender = CheckpointSender(self._run.checkpoints)
        if not self._sampled:
            self._sampled = True
            # The images of the demo are in the cache folder.
            data = Path(self._begin.data_dir) if self._begin.data_dir else cache_home()
            host = plain(platform.node(), 80)
            start_node_sampling(host, self._send_sample, _SAMPLE_SECONDS, root=os.getpid(), data_path=data)

    def _take_started(self) -> None:
        """Once the ranks are started: hand them the commands that came meanwhile."""
        if self._starting is None or not self._starting.over:
            return
        started, self._starting = self._starting, None
        self._ranks = started.ranks
        if self._ranks is None:
            self._send(Log(text=f"a rank can't be started: {started.problem}\n"))
            self._send(Ended(rank=self._first_rank, code=1, oom=False))
            return
        while self._commands:
            self._ranks.send(self._commands.pop(0))

    def _watch_ranks(self) -> None:
        self._poll_log()
        self._take_started()
        if self._sender is not None and self._writer.backlog < 4:
            for part in self._sender.next_parts():
                self._send(part)
        if self._ranks is None:
            return
        for rank, code in self._ranks.ended():
            self._poll_log()
            if rank == 0:
                for event in self._ranks.last_events():
                    self._send(FromRank(event=event))
                self._send_rest()
            oom = code < 0 and exit_reasons.oom_kills() > self._oom_before
            self._send(Ended(rank=rank, code=code, oom=oom))

    def _send_rest(self) -> None:
        """Send the checkpoints that were not sent."""
        while self._sender is not None and (parts := self._sender.next_parts(final=True)):
            for part in parts:
                self._send(part)

    def _halt(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._ranks, self._starting = self._starting.ranks, None
        self._commands.clear()
        if self._ranks is not None:
            self._ranks.kill()
            self._watch_ranks()
            self._send_rest()
        self._ranks, self._sender = None, None
        self._send(Halted())

    def _stop_ranks(self) -> None:
        """The supervisor is gone: a checkpoint, then the end."""
        print("the supervisor is no longer heard: the ranks end", file=sys.stderr)
        if self._ranks is None:
            return
        self._ranks.send(encode_command(StopCommand(checkpoint=True, sender="the agent of the node")))
        deadline = time.monotonic() + _STOP_SECONDS
        while self._ranks.alive and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)

    def _poll_log(self) -> None:
        """Send whole lines that the ranks have printed."""
        if self._log is None:
            return
        while data := os.read(self._log, _LOG_BYTES):
            lines, newline, self._log_rest = (self._log_rest + data).rpartition(b"\n")
            if len(self._log_rest) > _LOG_BYTES:
                lines, newline, self._log_rest = self._log_rest, b"\n", b""
            if newline:
                self._send(Log(text=lines.decode("utf-8", "replace")))
