"""Skipped tests are listed with what they lack, and fail where all tests must run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skipped_tests import NO_SKIPS

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="no such program: install it")
@pytest.mark.parametrize("number", [1, 2])
def test_marked(number): pass

def test_within(): pytest.skip("a busy machine")

@pytest.fixture
def missing(): pytest.skip("no compiler")

def test_of_a_fixture(missing): pass

@pytest.mark.gpu
@pytest.mark.skipif(True, reason="needs an NVIDIA GPU")
def test_gpu(): pass

@pytest.mark.xfail(strict=True)
def test_expected(): assert False

def test_that_runs(): pass
"""


def run(folder: Path, *arguments: str, no_skips: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "skipped_tests", *arguments]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": path, NO_SKIPS: no_skips}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("more", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_each_that_was_skipped_fails_but_those_of_a_gpu(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    done = run(tmp_path, *more, no_skips="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    said = done.stdout.splitlines()
    named = {line.partition("::")[2].split()[0] for line in said if line.startswith(("FAILED", "ERROR"))}
    assert named == {"test_marked[1]", "test_marked[2]", "test_within", "test_of_a_fixture"}
    for reason in ("no such program: install it", "a busy machine", "no compiler"):
        assert f"skipped, which {NO_SKIPS}=1 forbids: {reason}" in said
    assert "  1 of test_some.py: needs an NVIDIA GPU" in said
    assert "1 passed, 1 skipped, 1 xfailed" in said[-1]


@pytest.mark.parametrize("more", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_without_the_variable_they_are_listed(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module_at_all')\n")
    done = run(tmp_path, *more, no_skips="")
    assert done.returncode == 0, done.stdout
    for line in (
        "  1 of test_some.py: a busy machine",
        "  1 of test_some.py: needs an NVIDIA GPU",
        "  1 of test_some.py: no compiler",
        "  2 of test_some.py: no such program: install it",
        "  1 of test_whole.py: could not import 'no_such_module_at_all': No module named 'no_such_module_at_all'",
    ):
        assert line in done.stdout.splitlines()


@pytest.mark.parametrize("more", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_file_that_was_skipped_as_a_whole_fails(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.skip('nothing here', allow_module_level=True)\n")
    done = run(tmp_path, *more, no_skips="1")
    assert done.returncode not in (0, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout
    assert "ERROR test_whole.py" in done.stdout
    assert f"skipped, which {NO_SKIPS}=1 forbids: nothing here" in done.stdout


def test_a_run_without_skips_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_fine.py").write_text("def test_fine(): pass\n")
    done = run(tmp_path, no_skips="1")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
