"""What is learned of unedited scripts of the usual frameworks, with the real packages (extra ``frameworks``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from helpers.scripts.forked import Seen, run_forked
from helpers.scripts.framework_case import DATA
from helpers.scripts.framework_scripts import PACKAGES

from gputrain.engine.probe import layout

pytestmark = pytest.mark.frameworks
CASES = [
    # One worker of pytest runs all scripts of a package, as they share one process.
    pytest.param(package, name, marks=pytest.mark.xdist_group(package), id=f"{package}-{name}")
    for package, (_, cases) in PACKAGES.items()
    for name in cases
]


@cache
def _scripts_of(package: str, folder: Path) -> dict[str, Seen]:
    imports, cases = PACKAGES[package]
    (folder / package).mkdir()
    return run_forked(folder / package, DATA + imports, {name: case.text for name, case in cases.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frameworks")


@pytest.mark.parametrize(("package", "name"), CASES)
def test_steps_samples_wait_and_scalars(package: str, name: str, folder: Path) -> None:
    pytest.importorskip(package)
    case, seen = PACKAGES[package][1][name], _scripts_of(package, folder)[name]
    assert (seen.updates, seen.samples, seen.validation) == (case.updates, case.samples, case.validation)
    assert seen.unknown == ""
    assert 0 < seen.slot(layout.WAIT) <= seen.slot(layout.STEP_SECONDS)
    assert case.scalars <= seen.logged.keys()
    loader = seen.loaders()[-1]
    assert loader["framework"] == case.framework
    if case.made_at:
        line = case.text.splitlines().index(next(one for one in case.text.splitlines() if case.made_at in one)) + 1
        assert (Path(loader["file"]).name, loader["line"]) == (f"{name}.py", line)


@pytest.mark.xdist_group("accelerate")
def test_a_logged_value_is_taken_once(folder: Path) -> None:
    pytest.importorskip("accelerate")
    lines = _scripts_of("accelerate", folder)["accumulated_and_logged"].lines
    assert [line["step"] for line in lines if line["kind"] == "scalars"] == [0, 1]
