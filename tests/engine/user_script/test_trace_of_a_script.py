"""A trace that was asked for changes nothing of a script, whenever that ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import pages_in, probed, run, script

TRACED = """
import json, os, sys, time
import torch

weights = torch.ones(2, requires_grad=True)
optimizer = torch.optim.SGD([weights], 0.1)

def train():
    weights.square().sum().backward()
    optimizer.step()

def ask(steps):
    import gc
    probe, layout = sys.modules["_gputrain_probe.page"], sys.modules["_gputrain_probe.layout"]
    page = next(one for one in gc.get_objects() if isinstance(one, probe.Probe)).page
    with open(os.path.join(os.environ["GPUTRAIN_EXEC_PAGES"], "trace-1.json"), "w") as file:
        json.dump({"id": "r", "path": sys.argv[1], "steps": steps}, file)
    page.slots[layout.TRACE_WANTED] = 1

train()
ask(100)
time.sleep(0.3)  # a request is looked for some times a second
for _ in range(4):
    train()
sys.exit(5)
"""


@pytest.mark.long
def test_a_script_that_ends_while_it_is_recorded(tmp_path: Path) -> None:
    """Its exit code is its own: torch's recorder, left on, would crash the interpreter at its end."""
    trace = tmp_path / "trace.json"
    done = run([sys.executable, str(script(tmp_path, TRACED)), str(trace)], probed(tmp_path / "pages"))
    assert done.returncode == 5, done.stderr[-2000:]
    (page,) = pages_in(tmp_path / "pages").scan()
    said = [line for line in page.lines() if line["kind"] == "trace"]
    assert [line["verdict"] for line in said] == ["recording", "written"]
    assert said[1]["text"] == "3 of 100 steps: the script ended"
    assert b"traceEvents" in trace.read_bytes()
