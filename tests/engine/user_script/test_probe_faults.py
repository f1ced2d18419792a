"""A fault in any hook of the probe: the training is bit for bit the same, the hook is off, and that is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers.scripts.watched import MAIN, TRAIN, pages_in, probed, run, script

from gputrain.engine.events import Notice
from gputrain.engine.user_script.page_reader import PageFolder
from gputrain.engine.user_script.script_command import ScriptCommand
from gputrain.engine.user_script.script_events import ScriptEvents

BEFORE = """
import sys
if hasattr(sys.meta_path[0], "packages"):
    sys.meta_path[0].find_spec("torch")  # starts the probe
start, page = sys.modules.get("_gputrain_probe.start"), sys.modules.get("_gputrain_probe.page")
layout, loader_hooks = sys.modules.get("_gputrain_probe.layout"), sys.modules.get("_gputrain_probe.loader_hooks")
steps = sys.modules.get("_gputrain_probe.steps")

def fail(*_, **__):
    raise ValueError("a fault of the probe's own")

class Slots:
    "Reading or writing one of them fails."
    def __init__(self, slots, bad):
        self.slots, self.bad = slots, bad
    def __getitem__(self, index):
        return fail() if index in self.bad else self.slots[index]
    def __setitem__(self, index, value):
        if index in self.bad:
            fail()
        self.slots[index] = value

class NoAppend(list):
    append = fail

def bad_slots(role, *names):
    made = page.Page.__init__
    def __init__(self, folder, kind):
        made(self, folder, kind)
        if kind == role:
            self.slots = Slots(self.slots, {getattr(layout, name) for name in names})
    page.Page.__init__ = __init__

if start is not None:
    FAULT
"""
SCALED = """
scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], 0.1)
for factor in (1.0, float("inf"), 1.0):
    scaler.scale((weight * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
print(weight.tolist(), scaler.get_scale())
"""
PROGRESS = """
from tqdm import tqdm
with tqdm(total=2, disable=True) as bar:
    bar.set_postfix(loss=0.5)
"""
FAULTS = {
    "page": ("page.Page.__init__ = fail", ""),
    "loader place": ("loader_hooks.LoaderFacts = fail", ""),
    "loader, a later pass": ("loader_hooks.draw_for_pass = fail", ""),
    "loader": ('bad_slots(layout.TRAINER, "LOADERS")', ""),
    "loader, each batch": ('bad_slots(layout.TRAINER, "EPOCH_BATCHES")', ""),
    "loader, a usual step": ("loader_hooks.get_ident = fail", ""),
    "samples": ("loader_hooks.deque = NoAppend", ""),
    "backward": ('bad_slots(layout.TRAINER, "BACKWARDS")', ""),
    "optimizer": ('bad_slots(layout.TRAINER, "LAST_STEP")', ""),
    "optimizer, a usual step": ("steps.Steps.end_usual = fail", ""),
    "cuda": ("sys.modules['_gputrain_probe.cuda'].CudaClock._measure = fail", ""),
    "scaler, before a step": ("sys.modules['_gputrain_probe.losses'].Losses.scaled = fail", SCALED),
    "scaler": ('bad_slots(layout.TRAINER, "SKIPPED")', SCALED),
    "worker, before a batch": ('bad_slots(layout.WORKER, "WORKING_SINCE")', ""),
    "worker, after a batch": ('bad_slots(layout.WORKER, "BUSY")', ""),
    "worker, its counters": ('bad_slots(layout.WORKER, "CPU")', ""),
    "torch.utils.data.dataloader": ("sys.meta_path[0]._hooks['torch.utils.data.dataloader'] = [fail]", ""),
    "tqdm": ("start.ScalarHooks.say = fail", PROGRESS),
}


@pytest.mark.long
@pytest.mark.parametrize("hook", FAULTS)
def test_a_fault_changes_nothing_and_is_said(hook: str, tmp_path: Path) -> None:
    fault, more = FAULTS[hook]
    path = script(tmp_path, BEFORE.replace("FAULT", fault) + TRAIN + MAIN + more)
    command = [sys.executable, str(path), "2", "persistent"]
    alone, watched = run(command), run(command, probed(tmp_path / "pages"))
    assert alone.returncode == 0, alone.stderr
    assert (watched.returncode, watched.stdout, watched.stderr) == (0, alone.stdout, "")
    own = ScriptCommand(argv=("true",), cwd="/")
    events = ScriptEvents(PageFolder(tmp_path / "pages"), own, 0.0).poll(1.0, last=True)
    said = [event.text for event in events if isinstance(event, Notice) and event.source == "trainer"]
    if hook == "page":
        # Nothing can be said without one.
        assert pages_in(tmp_path / "pages").scan() == []
        return
    name = hook.partition(",")[0]
    assert any(text.startswith(f"a hook in the script failed and is off: {name}: ValueError") for text in said), said
    assert len(said) == len(set(said))


def test_the_probe_stays_out_where_it_is_told_to(tmp_path: Path) -> None:
    path = script(
        tmp_path, "import sys, torch\nprint(sorted(name for name in sys.modules if name.startswith('_gputrain')))\n"
    )
    environment = {**probed(tmp_path / "pages"), "GPUTRAIN_EXEC_DISABLE": "1"}
    done = run([sys.executable, str(path)], environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert list((tmp_path / "pages").iterdir()) == []
