"""A watched script finds the same interpreter as without us, and behaves the same."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import probed, run, script

INTERPRETER = """
import sys
before = set(sys.modules)
import atexit, builtins, faulthandler, gc, locale, os, random, signal, threading, warnings
import multiprocessing

print(sys.argv, sys.path, sys.flags, sys.warnoptions, sys.dont_write_bytecode, sys.getswitchinterval())
print(sorted(name for name in before if name != "sitecustomize" and not name.startswith("_gputrain_probe")))
print(sorted(vars(builtins)), sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__)
print(sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), threading.excepthook is threading.__excepthook__)
print(warnings.filters, warnings.showwarning.__module__, faulthandler.is_enabled())
print([str(signal.getsignal(one)) for one in sorted(signal.valid_signals()) if one not in (9, 19)])
print([one.name for one in threading.enumerate()], gc.get_threshold(), gc.callbacks, gc.isenabled())
print(atexit._ncallbacks())
print(multiprocessing.get_start_method(allow_none=True), locale.setlocale(locale.LC_ALL), os.getcwd(), os.umask(0o22))
print(sorted((name, value) for name, value in os.environ.items() if name not in ("PYTHONPATH", "GPUTRAIN_EXEC_PAGES")))
print(sorted(os.listdir("/proc/self/fd")), os.nice(0), os.getpgid(0) == os.getpgid(os.getppid()))
print(sys.orig_argv, [len(line) > 0 for line in [sys.executable, sys.prefix]])
"""
TORCH = """
import copy, hashlib, inspect, io, os, pickle, random, signal, sys, threading, warnings
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

class Mine(DataLoader):
    def __init__(self, *args, extra=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = extra

    def __iter__(self):
        for batch in super().__iter__():
            yield batch

class Subclass(torch.Tensor):
    pass

def digest():
    states = repr((torch.get_rng_state().tolist(), random.getstate()))
    return hashlib.sha256(states.encode()).hexdigest()[:16]

def main():
    torch.use_deterministic_algorithms(True)
    print(inspect.signature(DataLoader.__init__))
    print(inspect.signature(torch.Tensor.backward), torch.Tensor.backward.__doc__[:80])
    print(inspect.signature(torch.optim.SGD.step), inspect.signature(torch.amp.GradScaler.__init__))
    print(torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), threading.active_count())
    torch.manual_seed(1)
    random.seed(1)
    data = TensorDataset(torch.arange(20.0).reshape(20, 1))
    loader = Mine(data, batch_size=3, shuffle=True, extra=5)
    print(digest(), type(loader).__mro__, loader.extra, sorted(vars(loader)))
    again = pickle.loads(pickle.dumps(loader))
    print(digest(), len(pickle.dumps(loader)), [x.flatten().tolist() for (x,) in again])
    twin = copy.deepcopy(loader)
    print(digest(), [x.flatten().tolist() for (x,) in twin], [x.flatten().tolist() for (x,) in loader])
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())
    for (x,) in loader:
        model(x).sum().backward()
        optimizer.step()
    buffer = io.BytesIO()
    torch.save([copy.deepcopy(model), copy.deepcopy(optimizer).state_dict()], buffer)
    print(digest(), hashlib.sha256(repr([one.tolist() for one in model.parameters()]).encode()).hexdigest())
    print(len(optimizer._optimizer_step_post_hooks), sorted(vars(optimizer)), sorted(vars(model)))
    value = torch.ones(2, requires_grad=True).as_subclass(Subclass)
    (value * 2).sum().backward()
    try:
        next(iter(DataLoader([1, 2], batch_size=1, num_workers=0, timeout=-1)))
    except ValueError as error:
        print(error)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DataLoader(data, num_workers=64)
        torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), 0.1), 1).step()
    print([(one.category, str(one.message)[:60], one.filename, one.lineno) for one in caught])
    child = os.fork()
    if child == 0:
        for (x,) in loader:
            model(x).sum().backward()
            optimizer.step()
        print(torch.rand(1), [one.tolist() for one in model.parameters()], flush=True)
        os._exit(5)
    print(os.waitpid(child, 0)[1])

if __name__ == "__main__":
    main()
"""

AUDITED = """
import sys
import torch
from torch.utils.data import DataLoader, TensorDataset

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
events, listening = [], False
sys.addaudithook(lambda name, _: events.append(name) if listening and name != "builtins.id" else None)
for number, (x,) in enumerate(DataLoader(TensorDataset(torch.ones(120, 2)), batch_size=2)):
    optimizer.zero_grad()
    model(x).sum().backward()
    optimizer.step()
    listening = 10 < number < 55
print(len(events), sorted(set(events)))
"""


def same(command: list[str], tmp_path: Path) -> str:
    """Run it without and with the probe; returns what both printed."""
    # Python's own view: C libraries add variables to the environment behind it.
    alone, watched = run(command, dict(os.environ)), run(command, probed(tmp_path / "pages"))
    errors = [re.sub("0x[0-9a-f]+", "ADDRESS", done.stderr) for done in (alone, watched)]
    assert (watched.returncode, watched.stdout, errors[1]) == (alone.returncode, alone.stdout, errors[0])
    return f"{alone.returncode} {alone.stdout} {alone.stderr}"


@pytest.mark.parametrize("flags", [[], ["-W", "error"], ["-X", "dev"], ["-B", "-O", "-u"], ["-X", "faulthandler"]])
def test_the_interpreter_is_the_same(flags: list[str], tmp_path: Path) -> None:
    same([sys.executable, *flags, str(script(tmp_path, INTERPRETER)), "a", "--b"], tmp_path)


def test_torch_is_the_same(tmp_path: Path) -> None:
    printed = same([sys.executable, "-W", "error::DeprecationWarning:__main__", str(script(tmp_path, TORCH))], tmp_path)
    assert printed.startswith("0 "), printed


@pytest.mark.long
def test_a_step_opens_no_file_and_asks_nobody(tmp_path: Path) -> None:
    """By Python's audit events: files, sockets, processes, frames."""
    assert "\n" in same([sys.executable, str(script(tmp_path, AUDITED))], tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f():\n    raise ValueError('mine')\nf()", "1 "),
        ("import sys\nsys.exit('a message')", "1 "),
        ("import sys\nsys.exit(300)", "44 "),
        ("import os\nos.abort()", "-6 "),
        ("import ctypes, faulthandler\nfaulthandler.enable()\nctypes.string_at(0)", "-11 "),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)", "-2 "),
        ("import atexit\nfor one in range(3): atexit.register(print, one)\nprint('end')", "0 end\n2\n1\n0"),
        ("import threading\nthreading.Thread(target=lambda: 1 / 0, name='mine').start()", "0 "),
        ("import warnings\nwarnings.warn('mine')\nimport logging\nlogging.warning('%s', 'mine')", "0 "),
        ("def f(n):\n    return f(n + 1)\nf(0)", "1 "),
        ("import this_is_not_there", "1 "),
        ("import sys\nsys.stdout.close()\nprint(1)", "1 "),
        ("import os\nos.close(1)\nos.close(2)\nos.write(1, b'x')", "1 "),
    ],
)
def test_an_end_is_the_same(text: str, expected: str, tmp_path: Path) -> None:
    assert same([sys.executable, str(script(tmp_path, text + "\n"))], tmp_path).startswith(expected)


def test_modules_of_the_script_that_have_names_of_the_standard_library_are_its_own(tmp_path: Path) -> None:
    names = ("json", "mmap", "queue")
    for name in names:
        script(tmp_path, "mine = True\n", f"{name}.py")
    text = f"import {', '.join(names)}\nprint([one.mine for one in ({', '.join(names)})])\n"
    # Without what an environment's own .pth files import at the start.
    python = str(getattr(sys, "_base_executable", sys.executable))
    assert "[True, True" in same([python, str(script(tmp_path, text))], tmp_path)


def test_customizations_of_the_user_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    script(site, "import sys\nsys.mine = ['site']\nprint(__name__, __file__, __spec__.name)\n", "sitecustomize.py")
    script(site, "import sys\nsys.mine.append('user')\n", "usercustomize.py")
    path = script(tmp_path, "import sys\nprint(sys.mine, sys.modules['sitecustomize'].__file__)\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    python = str(getattr(sys, "_base_executable", sys.executable))
    assert "['site', 'user']" in same([python, str(path)], tmp_path)
    script(site, "raise ValueError('mine')\n", "sitecustomize.py")
    script(site, "", "usercustomize.py")
    assert "ValueError: mine" in same([python, "-B", str(script(tmp_path, "print(1)"))], tmp_path)
