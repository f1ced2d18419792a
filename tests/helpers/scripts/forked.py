"""Several scripts in one watched interpreter: each in a forked child with a page of its own, so packages load once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from gputrain.engine.probe import layout
from gputrain.engine.user_script.page_reader import MappedPage
from gputrain.engine.user_script.script_rank import ScriptRank
from helpers.scripts.watched import pages_in, probed, run, script

_RUNNER = """
import os, sys, traceback
os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
exec(compile(open("imports.py").read(), "imports.py", "exec"), globals())
for name in sys.argv[1:]:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            path = os.path.abspath("scripts/" + name + ".py")
            exec(compile(open(path).read(), path, "exec"), {**globals(), "__name__": "__main__", "__file__": path})
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    print("ended", name, child, status, flush=True)
"""


class Seen(Struct):
    """What the probe saw of one script."""

    updates: int
    samples: int
    validation: int
    page: MappedPage
    lines: list[dict[str, Any]]
    workers: list[MappedPage]

    def slot(self, number: int) -> float:
        """A figure of the page."""
        return float(self.page.slots[number])

    @property
    def unknown(self) -> str:
        """Why nothing is known of what it waits for."""
        return ScriptRank(self.page).why_unknown()

    @property
    def logged(self) -> dict[str, float]:
        """The newest value of each scalar."""
        return {name: one for line in self.lines if line["kind"] == "scalars" for name, one in line["values"].items()}

    def loaders(self) -> list[dict[str, Any]]:
        """What was said of loaders that were read with gradients enabled."""
        return [line for line in self.lines if line["kind"] == "loader" and line["grad"]]


def run_forked(folder: Path, imports: str, scripts: Mapping[str, str]) -> dict[str, Seen]:
    """Run all scripts, each after `imports`; what was seen of each by its name. Asserts that all end with code 0."""
    script(folder, imports, "imports.py")
    # A folder of their own: a script's name may be that of a package.
    (folder / "scripts").mkdir()
    for name, text in scripts.items():
        script(folder / "scripts", text, f"{name}.py")
    environment = probed(folder / "pages")
    runner = [sys.executable, str(script(folder, _RUNNER, "runner.py")), *scripts]
    done = run(runner, environment, cwd=folder)
    ended = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended ")]
    assert [one[0] for one in ended if one[2] != "0"] == [], done.stderr[-4000:]
    assert len(ended) == len(scripts), done.stderr[-4000:]
    found = pages_in(folder / "pages").scan()
    pages = {page.pid: page for page in found if not page.is_worker}
    workers = [page for page in found if page.is_worker]
    return {name: _seen(pages[int(pid)], workers) for name, pid, _ in ended if int(pid) in pages}


def _seen(page: MappedPage, workers: list[MappedPage]) -> Seen:
    slots, lines = page.slots, list(page.lines())
    assert slots[layout.DISABLED] == 0, lines
    return Seen(
        int(slots[layout.UPDATES]),
        int(slots[layout.SAMPLES]),
        int(slots[layout.VALIDATION_BATCHES]),
        page,
        lines,
        [one for one in workers if one.parent == page.pid],
    )
