"""Real processes, with threads and forked children, are asked for the stacks of all their threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gputrain.engine.events import StacksTaken, decode, encode
from gputrain.engine.stacks import stack_collection
from gputrain.engine.stacks.process_roles import role_namer
from gputrain.engine.stacks.stack_collection import MAX_NAMES, MAX_STACKS, collect, grouped

HANGS = """
import os, signal, sys, threading, time
from gputrain.engine.probe.on_request import stack_dump

def fetch_batch():
    time.sleep(1000)

def wait_for_lock():
    lock.acquire()

def child_waits():
    time.sleep(1000)

signal.signal(signal.SIGUSR1, lambda *_: print("mine", flush=True))
print(stack_dump.install(), signal.getsignal(stack_dump.SIGNAL) is signal.SIG_DFL, flush=True)
lock = threading.Lock()
lock.acquire()
for _ in range(3):
    threading.Thread(target=wait_for_lock, daemon=True).start()
child = os.fork()
if not child:
    child_waits()
print(child, flush=True)
fetch_batch()
"""
OTHER = "import signal, time\nprint('up', flush=True)\ntime.sleep(1000)"


class Family:
    def __init__(self, folder: Path) -> None:
        script = folder / "hangs.py"
        script.write_text(HANGS)
        pipe = subprocess.PIPE
        self.parent = subprocess.Popen([sys.executable, str(script)], stdout=pipe, text=True)
        self.other = subprocess.Popen([sys.executable, "-c", OTHER], stdout=pipe, text=True)
        assert self.parent.stdout is not None
        assert self.other.stdout is not None
        assert self.parent.stdout.readline() == "True True\n"
        self.child = int(self.parent.stdout.readline())
        self.other.stdout.readline()
        while not all("in fetch" in one.at or "in child" in one.at for one in self.take().processes):
            pass

    def take(self) -> StacksTaken:
        pids = [self.parent.pid, self.child, self.other.pid]
        processes = [psutil.Process(pid) for pid in pids]
        return collect("one", processes, role_namer(Path("/nowhere"), self.parent.pid, script=False))

    def close(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        for process in (self.parent, self.other):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    found = Family(tmp_path_factory.mktemp("family"))
    yield found
    found.close()


def test_all_threads_of_a_process_and_its_forked_child_that_hang(family: Family) -> None:
    taken = family.take()
    assert taken.request == "one"
    assert taken.text == ""
    by_pid = {one.pid: one for one in taken.processes}
    # The third one has no handler: the signal would have ended it, so it was not asked.
    assert set(by_pid) == {family.parent.pid, family.child}
    assert family.other.poll() is None
    parent, child = by_pid[family.parent.pid], by_pid[family.child]
    assert (parent.role, parent.threads, parent.missing) == ("trainer", 4, "")
    assert parent.at.endswith("hangs.py:6 in fetch_batch")
    assert (child.role, child.threads) == ("data worker", 1)
    assert child.at.endswith("hangs.py:12 in child_waits")


def test_equal_stacks_are_one_and_those_of_most_threads_come_first(family: Family) -> None:
    taken = family.take()
    assert [one.count for one in taken.stacks] == [3, 1, 1]
    assert "wait_for_lock" in taken.stacks[0].frames[0]
    assert all(name.startswith(f"trainer {family.parent.pid}, ") for name in taken.stacks[0].threads)
    mains = {name for one in taken.stacks[1:] for name in one.threads}
    assert mains == {f"trainer {family.parent.pid}, main thread", f"data worker {family.child}, main thread"}


def test_asking_again_shows_the_present_stacks_alone_and_changes_nothing(family: Family) -> None:
    first, second = family.take(), family.take()
    assert first.stacks == second.stacks
    os.kill(family.parent.pid, signal.SIGUSR1)
    assert family.parent.stdout is not None
    assert family.parent.stdout.readline() == "mine\n"


def test_a_stopped_process_is_named_with_the_remedy(family: Family) -> None:
    os.kill(family.child, signal.SIGSTOP)
    try:
        while psutil.Process(family.child).status() != psutil.STATUS_STOPPED:
            pass
        taken = family.take()
    finally:
        os.kill(family.child, signal.SIGCONT)
    missing = {one.pid: one.missing for one in taken.processes}
    assert missing[family.parent.pid] == ""
    assert missing[family.child] == f"it is stopped by a signal; kill -CONT {family.child} continues it"
    assert taken.line.endswith("in fetch_batch")
    assert taken.share == 1


def test_a_process_whose_file_was_closed_is_not_asked(tmp_path: Path) -> None:
    script = tmp_path / "closes.py"
    script.write_text(
        "import os, time\nfrom gputrain.engine.probe.on_request import stack_dump\n"
        "stack_dump.install()\nos.closerange(3, 1000)\n"
        "print(os.open(__file__, os.O_RDWR), flush=True)\ntime.sleep(1000)"
    )
    before = script.read_bytes()
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"3\n"
        taken = collect("x", [psutil.Process(process.pid)], lambda _: "script")
        process.kill()
    assert taken.processes == ()
    assert taken.text == stack_collection.NONE_FOUND
    assert script.read_bytes() == before


def test_a_signal_that_is_taken_is_left_alone() -> None:
    code = (
        "import signal\nfrom gputrain.engine.probe.on_request import stack_dump as s\n"
        "signal.signal(s.SIGNAL, lambda *_: print('own'))\nprint(s.install())\nsignal.raise_signal(s.SIGNAL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nown\n"


def test_a_python_without_memfd_uses_a_file_without_a_name(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\ndel os.memfd_create\nfrom gputrain.engine.probe.on_request import stack_dump as s\n"
        "print(s.install(sys.argv[1]), os.listdir(sys.argv[1]), flush=True)\ntime.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True []\n"
        taken = collect("x", [psutil.Process(process.pid)], lambda _: "script")
        process.kill()
    assert taken.line in ("<string>:4 in <module>", "<string>:5 in <module>")


def test_the_event_is_bounded_and_sanitized() -> None:
    from gputrain.engine.stacks.faulthandler_text import ThreadStack, own_line, parse

    text = (
        "Thread 0x00007f0000000001 [\x1b[31mred] (most recent call first):\n"
        '  File "/home/\\u4f60/\x1b]0;title\x07a.py", line 7 in step\n'
        "Current thread 0x00007f0000000002 (most recent call first):\n"
        '  File "/x/site-packages/torch/nn.py", line 3 in forward\n  File "/home/me/b.py", line 9 in <module>\n  ...\n'
    )
    first, main = parse(text)
    assert first == ThreadStack("red", ("/home/你/a.py:7 in step",))
    assert main.name == "main thread"
    assert own_line(main.frames) == "/home/me/b.py:9 in <module>"
    assert own_line(main.frames[:1]) == "/x/site-packages/torch/nn.py:3 in forward"
    many = {f"trainer {number}": [ThreadStack("main thread", (f"a.py:{number} in f",))] for number in range(150)}
    same = {f"worker {number}": [ThreadStack("main thread", ("b.py:1 in g",))] for number in range(50)}
    taken = grouped("x", (), {**many, **same})
    assert len(taken.stacks) == MAX_STACKS
    assert taken.left_out == 51
    assert (taken.stacks[0].count, len(taken.stacks[0].threads)) == (50, MAX_NAMES)
    assert decode(encode(taken)) == taken
