"""The fault matrix goes on where it was interrupted, and its figures count every try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_results import figures_of, kept_lines, table
from fault_tries import Finding, Lab, try_all


@dataclass
class Tried:
    """A fault that a function stands for."""

    name: str
    provoke: Callable[[Lab], Finding]
    missing: str = ""

    def unavailable(self) -> str:
        return self.missing


def steady(_lab: Lab) -> Finding:
    return Finding(survived=True, lost=0, said="fine", named=1.0, again=4.0)


def broken(_lab: Lab) -> Finding:
    raise AssertionError("it did not go on")


def test_an_interrupted_matrix_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], private_homes: Path) -> None:
    lab, results = Lab(tmp_path / "lab"), tmp_path / "results.jsonl"
    try_all([Tried("steady", steady), Tried("broken", broken, "it needs a moon")], lab, 2, results, quiet=False)
    assert "it needs a moon" in capsys.readouterr().out
    # The machine went down within a line.
    with results.open("a") as file:
        file.write('{"fault": "steady", "numb')
    assert [(one["fault"], one["number"]) for one in kept_lines(results)] == [("steady", 1), ("steady", 2)]
    try_all([Tried("steady", steady), Tried("broken", broken)], lab, 4, results, quiet=False)
    lines = kept_lines(results)
    assert sorted(one["number"] for one in lines if one["fault"] == "steady") == [1, 2, 3, 4]
    failed = figures_of([one for one in lines if one["fault"] == "broken"], "")
    assert (failed["tries"], failed["survived"], len(failed["failures"])) == (4, 0, 4)
    assert failed["failures"][0] == "try 1: AssertionError: it did not go on"
    good = figures_of([one for one in lines if one["fault"] == "steady"], "Nothing happens.")
    assert (good["tries"], good["survived"], good["lost"]) == (4, 4, 0)
    assert (good["named"], good["again"]) == ({"median": 1.0, "most": 1.0}, {"median": 4.0, "most": 4.0})
    rows = table({"steady": good, "broken": failed}).splitlines()[2:]
    assert rows[0].startswith("| `steady` | 4 | 4 | 0 | 1.0, at most 1.0 | 4.0, at most 4.0 |")
    assert rows[1].startswith("| `broken` | 4 | 0 | 0 | – | – |")
