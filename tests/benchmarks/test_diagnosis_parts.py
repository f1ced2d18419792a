"""Parts on which the diagnosis benchmark's validity depends: real waits, limits, judged predictions, known names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import control_groups
import diagnosis
import msgspec
import pytest
from diagnosis_catalogue import FAULTS, GPU
from diagnosis_faults import Costs, draw
from diagnosis_score import Outcome, figures
from diagnosis_setup import SampleFault, Setup
from diagnosis_tape import config_of, repeated
from diagnosis_trial import changed, trial_of, untried
from diagnosis_verdict import Rate
from fakes.images import dark_and_light
from slow_files import CannotServe, slow

from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets import image_set
from gputrain.engine.events import Hint, Prediction
from gputrain.engine.training.workers.fill_batch import read_file

COSTS = Costs(sample=0.0006, restart=0.1, file_bytes=20_000, images=512, cores=2)


def hint(prediction: Prediction | None = None, **changes: Any) -> Hint:
    return Hint(
        id="few-workers",
        severity="warning",
        title="",
        evidence="",
        action="",
        changes=changes,
        prediction=prediction,
    )


def test_reads_of_the_slow_file_system_wait_and_the_programs_own_accounting_sees_it(tmp_path: Path) -> None:
    folder, mount = dark_and_light(tmp_path / "images", 2), tmp_path / "mount"
    mount.mkdir()
    meter = BatchAccounting()
    try:
        with slow(str(folder), mount, 0.02) as served:
            found = image_set.scan(served, "train")
            assert [found.name(index) for index in range(len(found))] == [
                str(path.relative_to(folder / "train")) for path in sorted((folder / "train").glob("*/*"))
            ]
            meter.begin()
            for _ in range(2):  # nothing of the first time is kept
                for index in range(len(found)):
                    path = found.path(index)
                    assert read_file(path, meter) == (folder / os.path.relpath(path, served)).read_bytes()
            tally = meter.end(2 * len(found))
    except CannotServe as error:
        pytest.skip(str(error))
    finally:
        meter.close()
    assert tally.read is not None
    assert tally.read >= 2 * len(found) * 0.02
    assert tally.cpu < tally.read / 2
    assert not any(mount.iterdir())


def unified(tmp_path: Path, own: str, controllers: dict[str, str]) -> tuple[Path, Path]:
    """A fake cgroup v2 tree with the group `own` of this process, and a matching /proc."""
    top, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (top / own).mkdir(parents=True)
    for group, text in controllers.items():
        (top / group / "cgroup.subtree_control").write_text(text)
    (proc / "self" / "cgroup").write_text(f"0::/{own}\n")
    (proc / "self" / "mountinfo").write_text(f"30 1 0:26 / {top} rw - cgroup2 cgroup2 rw\n")
    return top, proc


@pytest.mark.parametrize(
    ("limit", "file", "text"),
    [
        (control_groups.cpu(0.5), "cpu.max", "50000 100000"),
        (control_groups.memory(1 << 30), "memory.max", "1073741824"),
        (control_groups.disk(Path("/"), 1000), "io.max", None),
    ],
)
def test_limits_of_version_2_are_set_in_a_group_beside_ones_own(
    tmp_path: Path, limit: control_groups.Limit, file: str, text: str | None
) -> None:
    top, proc = unified(tmp_path, "user/run.scope", {"user": "cpu io memory", "user/run.scope": ""})
    with control_groups.limited(limit, proc=proc) as group:
        # A group with processes in it cannot give controllers to those below it.
        assert group.parent == top / "user"
        told = (group / file).read_text()
        assert told == text if text else re.fullmatch(r"\d+:\d+ rbps=1000", told)
        assert (group / "cgroup.procs").read_text() == str(os.getpid())
    assert (top / "user/run.scope/cgroup.procs").read_text() == str(os.getpid())


def test_without_a_group_for_the_limit_the_reason_is_told(tmp_path: Path) -> None:
    _, proc = unified(tmp_path, "run.scope", {"": "pids", "run.scope": ""})
    with (
        pytest.raises(control_groups.NoGroup, match="no controller 'cpu'"),
        control_groups.limited(control_groups.cpu(1), proc=proc),
    ):
        pass


def test_a_promise_counts_by_its_gain_alone() -> None:
    before = Rate(100.0, 0.5)

    def effective(low: float, high: float, after: float, **more: Any) -> bool | None:
        return trial_of(
            hint(Prediction(low=low, high=high, **more), num_workers=2), 100.0, before, Rate(after, 0.5)
        ).effective

    assert effective(108, 112, 105.1) is True
    assert effective(108, 112, 104.9) is False
    # A mild fault whose fix gains nothing is no success.
    assert effective(106, 110, 100) is False
    # A promise of nothing is none.
    assert effective(99, 104, 101) is None
    # The promise is relative to the window's rate, which leaves stalls out.
    trial = trial_of(hint(Prediction(low=150, high=150), num_workers=2), 120.0, before, Rate(113, 0.5))
    assert trial.promised == pytest.approx(125)
    assert trial.effective is True


def test_what_is_left_out_of_efficacy_is_counted_with_its_reason() -> None:
    def outcome(said: Hint, **more: Any) -> Outcome:
        return Outcome("single", "few-workers", "strong", 1, frozenset({"few-workers"}), hints=(said,), **more)

    rates = Rate(100.0, 0.1), Rate(130.0, 0.1)
    kept = hint(Prediction(low=130, high=150), num_workers=2)
    void = hint(Prediction(void="others use 1.0 cores"), num_workers=2)
    found = figures(
        [
            outcome(kept, trial=trial_of(kept, 100.0, *rates)),
            outcome(void, trial=trial_of(void, 100.0, *rates)),
            outcome(hint(), untried="no setting is proposed"),
        ]
    )
    assert (found["efficacy"]["right"], found["efficacy"]["count"]) == (1, 1)
    assert found["efficacy_by_cause"]["few-workers"]["count"] == 1
    assert found["efficacy_left_out"] == {
        "few-workers: no figure promised: others use 1.0 cores": 1,
        "few-workers: no setting is proposed": 1,
    }
    assert found["gain_without_promise"]["few-workers"]["median"] == pytest.approx(0.3)
    assert found["matrix"] == {"single: few-workers (strong)": {"few-workers": 3}}


def test_both_faults_of_a_pair_count_by_any_of_their_names() -> None:
    parts = frozenset({"cpu-saturated", "workers-at-limit"}), frozenset({"host-copy"})

    def said(*names: str) -> bool:
        hints = tuple(msgspec.structs.replace(hint(), id=name) for name in names)
        return Outcome("pairs", "pair", "strong", 1, parts[0] | parts[1], parts, hints=hints).both

    assert said("workers-at-limit", "host-copy")
    assert said("host-copy", "cpu-saturated")
    # Two names of one fault are not both faults, and the third is not looked at.
    assert not said("cpu-saturated", "workers-at-limit", "host-copy")
    assert not said("host-copy")


def test_a_hint_that_went_again_is_a_false_alarm_all_the_same() -> None:
    def healthy(*raised: str) -> Outcome:
        return Outcome("healthy", "healthy", "strong", 1, frozenset({"compute-bound"}), raised=frozenset(raised))

    alarms = figures([healthy("compute-bound"), healthy("compute-bound", "disk"), healthy("gpu-neighbour"), healthy()])
    assert (alarms["false_alarms"]["right"], alarms["false_alarms"]["count"]) == (1, 4)


def test_only_what_is_real_is_tried() -> None:
    simulated, real = Setup("", 1, step=0.01), Setup("", 1)
    assert untried(simulated, hint(checkpoint_steps=40)) == ""
    assert untried(simulated, hint(cache="ram")) == ""
    assert changed(simulated, hint(cache="ram")).first_epoch == 1
    assert "pin_memory" in untried(simulated, hint(pin_memory=True))
    assert "cache" in untried(Setup("", 1, step=0.01, sample=SampleFault(sleep=0.1)), hint(cache="ram"))
    assert untried(real, hint(pin_memory=True, batch_size=8)) == ""
    assert untried(real, hint()) == "no setting is proposed"


def test_images_again_and_again(tmp_path: Path) -> None:
    found = image_set.scan(str(dark_and_light(tmp_path, 3)), "train")
    more = repeated(found, 14)
    assert len(more) == 14
    assert [more.path(index) for index in range(14)] == [found.path(index % len(found)) for index in range(14)]
    assert more.labels.tolist() == [int(found.labels[index % len(found)]) for index in range(14)]


def test_every_kind_of_trace_has_settings_that_a_run_accepts(tmp_path: Path) -> None:
    folder = dark_and_light(tmp_path / "photos", 2)
    for name, fault in {**FAULTS, **GPU}.items():
        made = fault.make(COSTS, draw(str(folder), 20_000, "strong"))
        assert made.seconds > 2 * made.window, name
        config_of(made)


@pytest.mark.parametrize("wrong", [["dsik"], ["ram-pressure", "bogus"], ["single", "gpus"]])
def test_unknown_names_are_bad_input(
    wrong: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["diagnosis.py", "--only", *wrong])
    with pytest.raises(SystemExit) as left:
        diagnosis.main()
    assert left.value.code == 2
    assert f"there is no '{wrong[-1]}'" in capsys.readouterr().err
