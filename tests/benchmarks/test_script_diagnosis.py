"""Parts of the benchmark of training scripts: what counts as right, what is left out, and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from diagnosis_score import Outcome
from diagnosis_script_cases import FAULTS, FRAMEWORKS, HEALTHY, SCRIPTS, Costs, command
from diagnosis_script_peers import names
from diagnosis_script_score import ScriptOutcome, figures, ratios, table
from diagnosis_trial import Trial
from diagnosis_verdict import Rate

from gputrain.engine.events import Hint

ADVICE = "Increase workers, prefetch, or storage throughput."
HERE = Path(__file__).parent


def outcome(name: str, first: str, trial: Trial | None = None, right: bool = False) -> ScriptOutcome:
    hint = Hint(id=first, severity="critical", title="", evidence="", action="", changes={})
    causes = {**FAULTS, **HEALTHY}[name].causes
    ours = Outcome("plain", name, "strong", 1, causes, hints=(hint,), raised=frozenset({first}), trial=trial)
    return ScriptOutcome(ours, "" if name in HEALTHY else f"INPUT-BOUND: {ADVICE}", right)


def trial(after: float) -> Trial:
    return Trial({"num_workers": 2}, Rate(100.0, 0.0), Rate(after, 0.0), 200.0)


def test_advice_is_right_where_it_names_the_fault() -> None:
    assert [name for name in FAULTS if names(ADVICE, name)] == ["few workers", "slow reads"]


def test_figures_count_causes_changes_and_false_alarms() -> None:
    found = figures(
        [
            outcome("few workers", "few-workers", trial(160.0), right=True),
            outcome("few workers", "no-workers", trial(140.0), right=True),
            outcome("shared lock", "few-workers"),
            outcome("CPU quota", "cpu-quota"),
            outcome("healthy, one worker", "compute-bound"),
            outcome("healthy, enough workers", "few-workers"),
        ]
    )
    shares = {
        name: (one["right"], one["count"])
        for name, one in found.items()
        if name.startswith(("script_", "trace")) and isinstance(one, dict) and "right" in one
    }
    assert shares == {
        "script_top1": (3, 4),
        "script_top2": (3, 4),
        "script_efficacy": (1, 2),
        "script_no_harm": (2, 2),
        "script_false_alarms": (1, 2),
        "script_top1_aside_from_others": (3, 4),
        "script_false_alarms_aside_from_others": (1, 2),
        "traceml_top1": (2, 4),
    }
    assert found["script_gain"] == pytest.approx(1.5)
    assert found["script_rate_over_predicted"] == pytest.approx(0.75)
    assert ratios(found) == ({"top1_vs_traceml": 1.5}, {})


def test_programs_that_did_run_beside_a_trace_are_no_false_alarm() -> None:
    one = outcome("healthy, one worker", "cpu-neighbour")
    assert figures([one])["script_false_alarms_aside_from_others"]["right"] == 1
    beside = replace(one, ours=replace(one.ours, others=1.0))
    found = figures([beside])
    assert found["script_disturbed"] == 1
    assert found["script_false_alarms"]["right"] == 1
    assert found["script_false_alarms_aside_from_others"]["right"] == 0


def test_a_framework_that_is_missing_counts_as_nothing_and_is_named() -> None:
    ours = Outcome("lightning", "few workers", "strong", 1, frozenset(), unavailable="not installed: lightning")
    found = figures([ScriptOutcome(ours)])
    assert found["script_top1"]["value"] is None
    assert found["script_unavailable"] == ["lightning, few workers: not installed: lightning"]
    assert ratios(found)[0]["top1_vs_traceml"] is None
    assert "not installed: lightning" in table([ScriptOutcome(ours)])


@pytest.mark.long
@pytest.mark.parametrize("name", [*FAULTS, *HEALTHY])
def test_the_plain_script_takes_the_arguments_of_every_case(name: str, tmp_path: Path) -> None:
    import random

    setup = {**FAULTS, **HEALTHY}[name].make(Costs(0.004, 5, 2), random.Random(1))
    words = command(sys.executable, "plain", setup, str(tmp_path), str(tmp_path), 0.0)
    parse = "import sys; sys.path.insert(0, sys.argv.pop(1)); import faulty_data; print(vars(faulty_data.arguments()))"
    done = subprocess.run(
        [sys.executable, "-c", parse, str(SCRIPTS), *words[2:]], capture_output=True, text=True, check=True
    )
    assert f"'batch': {setup.arguments['batch']}" in done.stdout


def test_every_framework_has_its_script() -> None:
    assert sorted(path.name for path in SCRIPTS.glob("*.py")) == sorted([*FRAMEWORKS.values(), "faulty_data.py"])


@pytest.mark.long
def test_an_interpreter_without_torch_is_named_with_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = bare / "bin" / "python"
    words = [sys.executable, str(HERE / "diagnosis.py"), "--scripts", "--script-python", str(python)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"install: {python} -m pip install torch torchvision" not in done.stdout
    assert f"the scripts need torch: {python} -m pip install torch torchvision" in done.stderr


@pytest.mark.long
def test_one_fault_of_the_plain_script() -> None:
    words = ["--scripts", "--json", "--quick", "--only", "shared lock", "--quiet", "0", "--no-traceml"]
    done = subprocess.run([sys.executable, str(HERE / "diagnosis.py"), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["figures"]["script_top1"]["count"] == 1, found
    assert found["figures"]["traceml_top1"]["value"] is None
    assert found["versions"]["torch"]
