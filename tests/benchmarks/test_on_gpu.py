"""The checks for a day with a GPU: their order, what is kept of each, going on later, and each command on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu_stages
import on_gpu
import pytest
from gpu_stages import STAGE_SECONDS, Sizes, Stage, Step

HERE = Path(__file__).parent


def step(name: str, code: str, limit: float = 60) -> Step:
    return Step(name, (sys.executable, "-S", "-c", code), limit)


def test_stages_stand_in_the_order_of_their_worth_and_fit_three_minutes(tmp_path: Path) -> None:
    plan = gpu_stages.stages(Sizes(tmp_path, small=False))
    assert [stage.name for stage in plan] == ["smoke", "ladder", "step", "data", "memory", "diagnosis", "program"]
    assert all(check.limit <= STAGE_SECONDS for stage in plan for check in stage.steps)
    names = [check.name for stage in plan for check in stage.steps]
    assert len(names) == len(set(names))


def test_each_result_is_on_disk_and_a_second_call_goes_on_with_the_rest(tmp_path: Path) -> None:
    count = f"import pathlib; f = pathlib.Path({str(tmp_path)!r}, 'count'); f.open('a').write('x')"
    flaky = f"import pathlib, sys; f = pathlib.Path({str(tmp_path)!r}, 'here'); sys.exit(0 if f.exists() else 3)"
    plan = [Stage("one", "?", (step("good", count), step("flaky", flaky)))]
    assert on_gpu.run_all(plan, tmp_path, minutes=1) == ["flaky"]
    assert [(done.name, done.exit_code) for done in on_gpu.Results(tmp_path).read()] == [("good", 0), ("flaky", 3)]
    (tmp_path / "here").touch()
    assert on_gpu.run_all(plan, tmp_path, minutes=1) == []
    assert [done.name for done in on_gpu.Results(tmp_path).read()] == ["good", "flaky", "flaky"]
    assert (tmp_path / "count").read_text() == "x"
    assert on_gpu.run_all(plan, tmp_path, minutes=1, again=True) == []
    assert (tmp_path / "count").read_text() == "xx"


def test_a_line_that_a_power_cut_left_is_not_a_result(tmp_path: Path) -> None:
    on_gpu.Results(tmp_path).add(on_gpu.Done("one", "good", 0, 1.5, {"ratio": 2.0}))
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"stage": "one", "na')
    (done,) = on_gpu.Results(tmp_path).read()
    assert (done.name, done.figures) == ("good", {"ratio": 2.0})
    assert on_gpu.Results(tmp_path).passed() == {"good"}


def test_what_takes_too_long_is_ended_and_the_next_is_run(tmp_path: Path) -> None:
    slow = step("slow", "import time; print('begun', flush=True); time.sleep(600)", limit=1)
    plan = [Stage("one", "?", (slow, step("failing", "raise SystemExit(3)")))]
    assert on_gpu.run_all(plan, tmp_path, minutes=1) == ["slow", "failing"]
    assert [(done.name, done.exit_code) for done in on_gpu.Results(tmp_path).read()] == [("slow", 124), ("failing", 3)]
    assert (tmp_path / "slow.out").read_text() == "begun\n"


def test_what_has_no_time_left_is_not_begun(tmp_path: Path) -> None:
    plan = [Stage("one", "?", (step("first", "pass"),))]
    assert on_gpu.run_all(plan, tmp_path, minutes=0.01) == ["first"]
    assert on_gpu.Results(tmp_path).read() == []


def test_figures_of_a_ladder_and_of_a_benchmark() -> None:
    def row(name: str, speed: float | None) -> dict[str, object]:
        return {"name": name, "speed": None if speed is None else {"images_per_second": speed}}

    rows = [row("standard", 100.0), row("+ TF32", None), row("+ cache", 240.0), row("all", 270.0)]
    told = {"fastest": "all", "speed_up": 2.7, "vs_published": 1.0}
    assert on_gpu.figures("ladder_000", json.dumps({"rows": rows})) == told
    assert on_gpu.figures("ladder_000", json.dumps({"rows": rows[:1]})) == {}
    assert on_gpu.figures("step", json.dumps({"ratios": {"a": 1.5, "b": None}})) == {"a": 1.5}
    assert on_gpu.figures("demo", '{"type": "steps"}\n{"type": "run_ended"}\n') == {}


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_gpu, "missing", lambda: "no CUDA device")
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", str(tmp_path / "out")])
    assert on_gpu.main() == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_list_names_all_and_a_wrong_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--list"])
    assert on_gpu.main() == 0
    text = capsys.readouterr().out
    assert text.index("1 smoke") < text.index("ladder_003") < text.index("7 program")
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--only", "smok"])
    with pytest.raises(SystemExit) as left:
        on_gpu.main()
    assert left.value.code == 2


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_command_works_on_the_cpu(tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = [sys.executable, str(HERE / "on_gpu.py"), str(output), "--dry-run", "--minutes", "18"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = {one.name: one for one in on_gpu.Results(output).read()}
    assert set(last) == {check.name for stage in gpu_stages.stages(Sizes(tmp_path, True)) for check in stage.steps}
    assert last["ladder_003"].figures["vs_published"] > 0
    assert '"outcome":"finished"' in (output / "resnet50.out").read_text()
    assert (output / "dashboard.svg").stat().st_size > 1000
