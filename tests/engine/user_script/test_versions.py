"""The probe in environments that are not ours: other versions of Python and torch, as a user's script has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.scripts import environments
from helpers.scripts.watched import CHANGE, EXEC, MAIN, TRAIN, pages_in, probed, run, script

from gputrain.engine import probe
from gputrain.engine.events import Notice, RunEnded, Steps
from gputrain.engine.probe import layout
from gputrain.engine.runs import event_log, run_directory

pytestmark = pytest.mark.versions

TORCH = [pytest.param(str(one), id=environments.name_of(one)) for one in environments.with_torch()]
PYTHON = [pytest.param(str(one), id=environments.name_of(one)) for one in environments.without_torch()]
SPAWNED = MAIN.replace(
    "main(", "import multiprocessing\n    multiprocessing.set_start_method(sys.argv[3])\n    main(", 1
)


def test_the_environments_are_there() -> None:
    assert len(TORCH) >= 2, "run .ci/version-environments"
    assert PYTHON, "run .ci/version-environments"


@pytest.mark.parametrize("python", TORCH)
@pytest.mark.parametrize(
    ("workers", "kept", "start"),
    [("0", "", "fork"), ("2", "", "fork"), ("2", "persistent", "spawn"), ("2", "persistent", "forkserver")],
)
def test_a_script_is_the_same_and_its_steps_are_counted(
    python: str, workers: str, kept: str, start: str, tmp_path: Path
) -> None:
    path = script(tmp_path, TRAIN + SPAWNED)
    command = [python, "-W", "error::DeprecationWarning:_gputrain_probe", str(path), workers, kept, start]
    alone = run(command, environments.clean(dict(os.environ)))
    watched = run(command, environments.clean(probed(tmp_path / "pages")))
    assert (alone.returncode, watched.returncode) == (0, 0), watched.stderr
    assert (watched.stdout, watched.stderr) == (alone.stdout, alone.stderr)
    pages = pages_in(tmp_path / "pages").scan()
    (trainer,) = [page for page in pages if not page.is_worker]
    slots = trainer.slots
    assert (slots[layout.UPDATES], slots[layout.BACKWARDS], slots[layout.SAMPLES]) == (87, 87, 600)
    assert (slots[layout.VALIDATION_BATCHES], slots[layout.DISABLED]) == (12, 0)
    assert 0 < slots[layout.WAIT] < slots[layout.STEP_SECONDS]
    inside = [page.slots for page in pages if page.is_worker and page.slots[layout.WORKER_ID] >= 0]
    assert sum(one[layout.WORKER_SAMPLES] for one in inside) == (600 if int(workers) else 0)
    made = [line for line in trainer.lines() if line["kind"] == "loader" and line["grad"]]
    assert {(line["file"], line["line"], line["length"]) for line in made} == {(str(path), 17, 29.0)}


@pytest.mark.parametrize("python", TORCH)
@pytest.mark.parametrize(
    ("workers", "kept", "requests"),
    [("0", "", [(10, 2, -1)]), ("2", "persistent", [(10, 3, -1), (40, 0, 0)])],
)
def test_the_workers_change_and_nothing_else(
    python: str, workers: str, kept: str, requests: list[tuple[int, int, int]], tmp_path: Path
) -> None:
    path = script(tmp_path, TRAIN + f"\nREQUESTS = {requests}\n" + CHANGE + MAIN)
    alone = run([python, str(path), workers, kept], environments.clean(dict(os.environ)))
    changed = run([python, str(path), workers, kept], environments.clean(probed(tmp_path / "pages")))
    assert f"answers {len(requests)}.0 1.0" in changed.stderr
    assert (changed.returncode, changed.stdout) == (0, alone.stdout)


HOOKS = """
import sys, torch, torch.cuda.amp, torch.utils.data
from torch.utils.data import dataloader

def ours(function):
    return "engine/probe/" in function.__code__.co_filename

scalers = [one for one in torch.cuda.amp.GradScaler.__mro__ if "step" in vars(one)]
print("scaler", [ours(vars(one)["step"]) for one in scalers])
print("backward", ours(torch.autograd.backward))
print("loader", ours(dataloader._BaseDataLoaderIter.__next__), ours(dataloader.DataLoader._get_iterator))
print("fetch", ours(torch.utils.data._utils.fetch._MapDatasetFetcher.fetch))
print("post hooks", len(sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks))
"""


@pytest.mark.parametrize("python", TORCH)
def test_every_hook_finds_its_place(python: str, tmp_path: Path) -> None:
    done = run([python, str(script(tmp_path, HOOKS))], environments.clean(probed(tmp_path / "pages")))
    assert done.stdout.splitlines() == [
        "scaler [True]",
        "backward True",
        "loader True True",
        "fetch True",
        "post hooks 1",
    ]


@pytest.mark.parametrize("python", TORCH)
def test_a_run_of_another_environment_is_recorded(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command itself. Modules of ours are not there: a script that finds them would end."""
    text = "import sys\nassert not any('gputrain' in path for path in sys.path)\n" + TRAIN + MAIN
    path = script(
        tmp_path, text.replace("def after_step(count):", "def after_step(count):\n    import time; time.sleep(0.02)")
    )
    done = run([*EXEC, "--json", "--", "env", "-u", "VIRTUAL_ENV", python, str(path), "2", ""])
    assert done.returncode == 0, done.stderr
    events = list(event_log.read(run_directory.find("last").events))
    assert isinstance(events[-1], RunEnded)
    assert events[-1].step == 87
    assert [event for event in events if isinstance(event, Steps)]
    assert not [event.text for event in events if isinstance(event, Notice) and event.level != "info"]


@pytest.mark.parametrize("python", PYTHON)
def test_any_interpreter_starts_as_without_the_probe(python: str, tmp_path: Path) -> None:
    """From 3.9 on the whole probe is imported; older ones are left alone, and say nothing."""
    path = script(tmp_path, "import sys\nsys.stdout.write(repr([sys.path, sys.argv, sys.flags, sys.version_info]))\n")
    alone = run([python, str(path), "x"], environments.clean(dict(os.environ)))
    environment = environments.clean(probed(tmp_path / "pages"))
    watched = run([python, str(path), "x"], environment)
    assert alone.returncode == 0
    assert (watched.returncode, watched.stdout, watched.stderr) == (0, alone.stdout, "")
    # The probe begins at the first import of a package that it watches.
    (tmp_path / "tqdm.py").write_text("")
    seen = "print('%s %s' % (sys.version_info >= (3, 9), '_gputrain_probe.start' in sys.modules))"
    program = script(tmp_path, f"import sys, tqdm\n{seen}\n")
    version = run([python, str(program)], environment)
    assert version.stdout.split() in (["True", "True"], ["False", "False"])


@pytest.mark.parametrize("python", [one for one in PYTHON if one.id not in ("python2.7", "python3.6", "python3.8")])
def test_all_sources_compile_without_a_warning(python: str, tmp_path: Path) -> None:
    sources = sorted(str(one) for one in Path(probe.__file__).parent.rglob("*.py"))
    program = "import pathlib, sys\nfor name in sys.argv[1:]: compile(pathlib.Path(name).read_text(), name, 'exec')\n"
    done = run([python, "-W", "error", "-c", program, *sources], environments.clean(dict(os.environ)))
    assert (done.returncode, done.stderr) == (0, "")
