"""The run's process tree, with real processes."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gputrain.engine.events import GpuProcess
from gputrain.engine.monitor.processes import process_tree
from gputrain.engine.monitor.processes.process_owners import ProcessOwners
from gputrain.engine.monitor.processes.process_tree import ProcessTree

FAMILY = """
import subprocess, sys, threading
code = "import sys; print(flush=True); sys.stdin.readline()"
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
held = []
def start():
    held.append(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    held[0].stdout.readline()
    print(child.pid, held[0].pid, flush=True)
    ended.wait()
ended = threading.Event()
thread = threading.Thread(target=start)  # its children are in the list of the thread alone
thread.start()
for line in sys.stdin:
    if line.startswith("work"):
        sum(range(20_000_000))
    if line.startswith("child"):
        subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"])
    if line.startswith("read"):
        data = open(sys.argv[1], "rb").read()
    if line.startswith("end"):
        child.communicate()
    print(flush=True)
ended.set()
held[0].communicate()
child.communicate()
"""


class Family:
    """A process with one child of its main thread and one of another thread."""

    def __init__(self, file: Path) -> None:
        self.root = subprocess.Popen(
            [sys.executable, "-c", FAMILY, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.root.stdout is not None
        self.children = [int(pid) for pid in self.root.stdout.readline().split()]

    def do(self, word: str) -> None:
        assert self.root.stdin is not None
        assert self.root.stdout is not None
        self.root.stdin.write(f"{word}\n")
        self.root.stdin.flush()
        self.root.stdout.readline()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(8 << 20))
    started = Family(file)
    yield started
    started.root.communicate(timeout=20)


def forks() -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("processes"):
            return int(line.split()[1])
    raise AssertionError("/proc/stat has no count of processes")


def test_whole_process_tree_is_found(family: Family) -> None:
    tree = ProcessTree(lambda: (family.root.pid,))
    figures = tree.read(0.0, forks())
    assert figures.pids == {family.root.pid, *family.children}
    assert {process.pid for process in figures.processes} == figures.pids
    assert figures.rss == pytest.approx(
        sum(psutil.Process(pid).memory_info().rss for pid in figures.pids), rel=0.05, abs=1 << 20
    )
    assert all(process.name.startswith("python") for process in figures.processes)
    tree.close()


def test_process_tree_without_kernel_lists_of_children(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lists(_: Path) -> bool:
        return False

    monkeypatch.setattr(process_tree, "_lists_children", no_lists)
    tree = ProcessTree(lambda: (family.root.pid,))
    assert tree.read(0.0, None).pids == {family.root.pid, *family.children}
    tree.close()


def test_cpu_and_bytes_read_between_two_samples(family: Family) -> None:
    tree = ProcessTree(lambda: (family.root.pid,))
    before, began = tree.read(0.0, None), time.monotonic()
    assert (before.cpu, before.read_rate) == (None, None)
    family.do("work")
    family.do("read")
    seconds = time.monotonic() - began
    after = tree.read(seconds, None)
    assert after.cpu is not None
    assert 0 < after.cpu <= 1.5
    busiest = after.processes[0]
    assert busiest.pid == family.root.pid
    assert (busiest.cpu or 0) > 0
    assert after.read_rate is not None
    assert after.read_rate * seconds == pytest.approx(8 << 20, rel=0.1)
    # The file was just written: it comes from the page cache.
    assert after.cache_hit is None or after.cache_hit > 0.9
    tree.close()


def test_short_lived_child_is_counted_once(family: Family) -> None:
    tree = ProcessTree(lambda: (family.root.pid,))
    tree.read(0.0, None)
    used = psutil.Process(family.root.pid).cpu_times()
    family.do("child")
    inherited = psutil.Process(family.root.pid).cpu_times()
    child = inherited.children_user + inherited.children_system - used.children_user - used.children_system
    assert child > 0.05
    figures = tree.read(1.0, None)
    assert len(figures.pids) == 3
    assert figures.cpu == pytest.approx(child, abs=0.05)
    assert tree.read(1.0, None).cpu == pytest.approx(0, abs=0.05)
    tree.close()


def test_cpu_time_of_an_ended_child_is_not_counted_twice() -> None:
    """The child computes while it is followed; then its parent inherits its time."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(sum(range(20_000_000)), flush=True); input()'],\n"
        "                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.pid, flush=True); input()\n"
        "child.stdout.readline(); print(flush=True); input()\n"
        "child.communicate(); print(flush=True); input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, bufsize=1) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        tree = ProcessTree(lambda: (parent.pid,))
        tree.read(0.0, None)
        told = 0.0
        for _ in range(2):
            parent.stdin.write("\n")
            parent.stdout.readline()
            told += tree.read(1.0, None).cpu or 0.0
        used = psutil.Process(parent.pid).cpu_times()
        assert told == pytest.approx(used.children_user + used.children_system, abs=0.15)
        tree.close()
        parent.stdin.write("\n")


def test_pss_divides_shared_memory(family: Family) -> None:
    tree = ProcessTree(lambda: (family.root.pid,))
    assert tree.read(0.0, None).pss is None  # two of three were not read yet
    # Their turns come when the cost of the one before is spread out over time.
    assert until(lambda: tree.read(0.0, None).pss is not None)
    figures = tree.read(0.0, None)
    pss, rss = figures.pss, figures.rss
    assert pss is not None
    assert rss is not None
    assert 0 < pss < rss
    tree.close()


def test_ended_processes_leave_the_tree(family: Family) -> None:
    tree = ProcessTree(lambda: (family.root.pid,))
    tree.read(0.0, 1)
    family.do("end")
    # The host's count of forks is said to be the same: only the ended process's own file tells of it.
    assert tree.read(1.0, 1).pids == {family.root.pid, family.children[1]}
    tree.close()


def test_empty_tree_has_no_values() -> None:
    tree = ProcessTree(tuple)
    figures = tree.read(1.0, None)
    assert (figures.cpu, figures.rss, figures.pss, figures.read_rate, figures.processes) == (None, None, None, None, ())


def until(found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found():
            return True
    return False


def made_proc(root: Path, namespace: int) -> Path:
    (root / "self" / "ns").mkdir(parents=True)
    (root / "self" / "ns" / "pid").symlink_to(f"pid:[{namespace}]")
    (root / "77").mkdir()
    (root / "77" / "cmdline").write_bytes(b"/usr/bin/python3\0/home/x/\x1b[31mtrain.py\0--lr=1\0")
    return root


def test_process_names_contain_no_escape_codes(tmp_path: Path) -> None:
    owners = ProcessOwners(made_proc(tmp_path, 4026531836))
    assert until(lambda: owners.describe(GpuProcess(pid=77), frozenset()).user == getpass.getuser())
    found = owners.describe(GpuProcess(pid=77, memory=5), frozenset())
    assert found.name == "python3 train.py --lr=1"
    assert (found.memory, found.ours, found.hidden) == (5, False, False)
    gone = owners.describe(GpuProcess(pid=78), frozenset())
    assert (gone.name, gone.user) == ("", "")


def test_foreign_pids_are_hidden_in_a_container(tmp_path: Path) -> None:
    owners = ProcessOwners(made_proc(tmp_path, 4026532444))
    found = owners.describe(GpuProcess(pid=77), frozenset({99}))
    assert (found.hidden, found.name, found.user) == (True, "", "")
    assert owners.describe(GpuProcess(pid=99), frozenset({99})).ours


CREW = """
import multiprocessing, sys, time
def work(queue):
    queue.put("at work")
    time.sleep(100)
def train(queue):
    multiprocessing.get_context("forkserver").Process(target=work, args=(queue,), daemon=True).start()
    time.sleep(100)
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    trainer = spawn.Process(target=train, args=(queue,), daemon=False)
    trainer.start()
    queue.get()
    print(trainer.pid, flush=True)
    sys.stdin.readline()
    for child in reversed(__import__("psutil").Process().children(recursive=True)):
        child.kill()
"""


def test_process_roles_of_a_run(tmp_path: Path) -> None:
    script = tmp_path / "crew.py"
    script.write_text(CREW)
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as root:
        assert root.stdout is not None
        trainer = int(root.stdout.readline())
        for role in ("supervisor", ""):
            tree = ProcessTree(lambda: (root.pid,), root_role=role)
            tree.read(0.0, None)
            found = {process.pid: process for process in tree.read(0.0, None).processes}
            tree.close()
            if role:
                assert found[root.pid].role == "supervisor"
                assert found[trainer].role == "trainer"
                assert {"worker", "fork server", "cleaner"} <= {process.role for process in found.values()}
            else:
                assert {process.role for process in found.values()} == {""}
                assert found[root.pid].name.endswith("crew.py")
        root.communicate("\n")
