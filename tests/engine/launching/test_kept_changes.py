"""A resumed run's settings: what was kept in a running training, and the ranks on a CPU."""

from __future__ import annotations

from fakes.machines import NO_GPU
from msgspec.structs import replace

from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.resume_changes import check_changes
from gputrain.engine.events import Tuned
from gputrain.engine.launching import launch
from gputrain.engine.launching.kept_changes import KEPT, KeptChanges
from gputrain.engine.launching.launch import PlanRecord
from gputrain.engine.launching.resume_run import plan_from_run
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir

WAS, CHANGES = {"num_workers": 1}, {"num_workers": 4}
TRYING = Tuned(verdict="trying", changes=CHANGES, was=WAS)
KEEPING = Tuned(verdict="kept", changes=CHANGES, was=WAS, before=67.2, after=276.4)


def written() -> tuple[RunDir, KeptChanges]:
    run = run_directory.create("starved")
    config = settings.build({"recipe": "demo", "device": "cpu", **WAS})
    launch.write_settings(run, config, PlanRecord({"num_workers": "you", "device": "you"}, ("a warning",)))
    return run, KeptChanges(run, settings.replace(config, resume_from=str(run.directory)))


def test_kept_settings_are_saved_with_the_measured_gain() -> None:
    run, changes = written()
    assert changes.learn(TRYING) == ""
    assert (changes.config.data.num_workers, read_config(run.config).data.num_workers) == (1, 1)
    assert changes.learn(KEEPING) == ""
    assert (changes.config.data.num_workers, changes.config.resume_from) == (4, str(run.directory))
    kept = read_config(run.config)
    assert (kept.data.num_workers, kept.device, kept.resume_from) == (4, "cpu", "")
    assert "kept in the run: 67.2 → 276.4 img/s" in run.config.read_text()
    plan = launch.read_plan(run)
    assert plan.origins == {"num_workers": "kept in the run: 67.2 → 276.4 img/s", "device": "you"}
    assert plan.warnings == ("a warning",)
    assert changes.revert_trial() is None


def test_reverted_and_refused_changes_change_nothing() -> None:
    run, changes = written()
    before = run.config.read_text()
    for verdict in (TRYING, Tuned(verdict="reverted", changes=CHANGES, was=WAS), Tuned(verdict="refused", changes={})):
        assert changes.learn(verdict) == ""
    assert changes.config.data.num_workers == 1
    assert run.config.read_text() == before


def test_a_change_on_trial_is_reverted_when_the_trainer_dies() -> None:
    _, changes = written()
    changes.learn(TRYING)
    changes.learn(Tuned(verdict="refused", changes={"prefetch_factor": 3}))
    off = changes.revert_trial()
    assert off is not None
    assert (off.verdict, off.now, off.after) == ("reverted", WAS, None)
    assert changes.revert_trial() is None


def test_kept_settings_that_cannot_be_saved_apply_with_a_warning() -> None:
    run, changes = written()
    run.config.unlink()
    assert "could not be saved" in changes.learn(KEEPING)
    assert changes.config.data.num_workers == 4


def test_a_resumed_run_has_kept_settings_unless_overridden() -> None:
    run, changes = written()
    changes.learn(KEEPING)
    machine = replace(NO_GPU, usable_cores=2.0)
    plan = plan_from_run(run, {}, machine)  # which would begin with one worker
    assert (plan.config.data.num_workers, plan.origins["num_workers"][:15]) == (4, KEPT)
    assert plan_from_run(run, {"num_workers": 2}, machine).config.data.num_workers == 2


def test_several_ranks_on_a_cpu_are_kept() -> None:
    run = run_directory.create("two-ranks")
    config = settings.build({"recipe": "demo", "device": "cpu", "devices": 2})
    launch.write_settings(run, config, PlanRecord({"devices": "you", "device": "you"}, ()))
    plan = plan_from_run(run, {}, NO_GPU)
    assert (plan.config.devices, plan.origins["devices"]) == (2, "you")
    assert plan_from_run(run, {"devices": 1}, NO_GPU).config.devices == 1


def test_a_run_on_hosts_goes_on_with_others_and_the_same_images_per_update() -> None:
    run = run_directory.create("two-hosts")
    config = settings.build({"recipe": "demo", "device": "cpu", "hosts": "a,b", "batch_size": 4})
    launch.write_settings(run, config, PlanRecord({"hosts": "you", "device": "you"}, ()))
    assert plan_from_run(run, {}, NO_GPU).config.distributed.hosts == "a,b"
    for hosts, steps in (("a", 2), ("", 2), ("c,d", 1)):
        plan = plan_from_run(run, {"hosts": hosts}, NO_GPU)
        assert (plan.config.data.batch_size, plan.config.optim.accumulation_steps) == (4, steps)
        notes = check_changes(settings.flatten(config), settings.flatten(plan.config))
        assert any(f"hosts: was a,b and is {hosts or 'this machine'}" in note for note in notes)
