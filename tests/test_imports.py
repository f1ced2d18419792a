"""Which modules each process may import, checked in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules(code: str) -> set[str]:
    """Names of the modules in a fresh interpreter after `code`, which prints nothing."""
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def loaded(code: str) -> set[str]:
    """Their top-level names."""
    return {name.partition(".")[0] for name in modules(code)}


def test_the_dashboard_has_no_torch() -> None:
    names = loaded(
        "import gputrain.tui.app, gputrain.tui.screens.launcher.launcher_screen, gputrain.tui.commands.launch.train"
    )
    assert "textual" in names
    assert "torch" not in names
    assert "torchvision" not in names


def test_the_dashboard_does_not_wait_for_what_its_first_paint_does_not_need() -> None:
    names = modules(
        "import gputrain.tui.commands.runs.tail, gputrain.tui.app, gputrain.tui.screens.dashboard.dashboard_screen"
    )
    assert "textual.app" in names
    assert not names & {
        "yaml",
        "numpy",
        "psutil",
        "pynvml",
        "multiprocessing",
        "gputrain.engine.configuration.settings",
    }


def test_the_supervisor_has_neither_torch_nor_textual() -> None:
    names = loaded("import gputrain.engine.supervision.supervisor")
    assert not names & {"torch", "torchvision", "textual", "rich"}


def test_a_supervisor_does_not_wait_for_the_planner() -> None:
    names = modules("import gputrain.engine.__main__")
    assert "gputrain.engine.supervision.supervisor" in names
    assert not [
        name for name in names if name.startswith(("gputrain.engine.planning", "gputrain.engine.user_script.t"))
    ]


def test_the_plan_of_the_demo_does_not_wait_for_numpy() -> None:
    names = modules(
        "import contextlib, io, gputrain.tui.cli.main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert gputrain.tui.cli.main.main(['train', '--recipe', 'demo', '--dry-run', 'device=cpu']) == 0\n"
    )
    assert "gputrain.profiles.resolve_plan" in names
    assert not names & {"torch", "numpy", "PIL", "textual"}


@pytest.mark.slow
def test_a_trainer_waits_for_no_module_that_only_other_trainings_need() -> None:
    names = modules("import gputrain.engine.training.loop.trainer")
    assert "torch" in names
    assert not names & {"torchvision", "torch.distributed.optim", "torch.distributed.fsdp", "timm"}


def test_help_loads_next_to_nothing() -> None:
    names = loaded("import gputrain.tui.cli.main; gputrain.tui.cli.main.parser().format_help()")
    assert not names & {"torch", "textual", "rich", "numpy", "psutil", "msgspec", "yaml", "pynvml"}


@pytest.mark.parametrize("command", ["runs.runs", "runs.tail", "runs.stop"])
def test_commands_about_runs_load_no_torch(command: str) -> None:
    assert "torch" not in loaded(f"import gputrain.tui.commands.{command}")


def test_keras_has_no_torch_and_the_others_have_no_tensorflow() -> None:
    """All that a trainer or a prediction of Keras imports before TensorFlow itself."""
    others = (
        "gputrain.tui.app, gputrain.tui.screens.launcher.launcher_screen, "
        "gputrain.engine.supervision.supervisor, gputrain.engine.planning.plan"
    )
    assert not loaded(f"import {others}") & {"tensorflow", "keras"}
    shared = (
        "supervision.trainer_main",
        "checkpointing.checkpoint_saver",
        "datasets.image_set",
        "dataloading.batch_sampler",
        "dataloading.random_resized_crop",
        "shared_loop.lr_schedule",
        "datasets.bad_image_list",
        "datasets.dataset_report",
        "shared_loop.nonfinite_loss",
        "processes.child_entry",
    )
    names = loaded("import " + ", ".join(f"gputrain.engine.{name}" for name in shared))
    assert not names & {"torch", "tensorflow", "keras"}
