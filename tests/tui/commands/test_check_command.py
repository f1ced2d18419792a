"""``gputrain-tui check``: what it prints, its JSON and its exit code, with and without a GPU and a torch for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.nvml import GIB, RTX_3090, NvmlStandIn

COMMAND = [sys.executable, "-m", "gputrain.tui.cli", "check"]


def check(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env={**os.environ, **env}, capture_output=True, text=True)


@pytest.fixture
def cpu_only_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which the CPU-only wheel of torch is installed."""
    for package, version in (("torch", "2.15.0+cpu"), ("torchvision", "0.30.0+cpu")):
        folder = tmp_path / "site" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "version.py").write_text(f"__version__ = '{version}'\ncuda = None\n")
    return {"PYTHONPATH": os.pathsep.join((str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")))}


def test_a_machine_without_a_gpu_works_and_says_that_it_trains_on_the_cpu() -> None:
    done = check("--no-speed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a run would train on the CPU" in done.stdout
    assert "recommended        batch_size 64, num_workers" in done.stdout
    assert done.stdout.rstrip().endswith("a run works on this machine: 0 problems, 0 warnings")


def test_a_gpu_that_is_asked_for_and_missing_fails_with_the_reason() -> None:
    done = check("--no-speed", "device=cuda")
    assert done.returncode == 1
    assert "problem: device: cuda needs a GPU, but none is usable (no NVIDIA driver)" in done.stdout


def test_everything_as_json() -> None:
    done = check("--no-speed", "--json", "--recipe", "demo")
    told = json.loads(done.stdout)
    assert told["works"] is True
    assert told["recommended"]["batch_size"] == "64"
    assert told["examined"]["machine"]["torch"]["version"]
    assert told["examined"]["speed"] is None
    assert {line["topic"] for line in told["lines"]} >= {"software", "gpu", "cpu", "memory", "disk", "limits", "run"}


def test_the_cpu_only_wheel_is_named_as_the_cause(nvml_stand_in: NvmlStandIn, cpu_only_torch: dict[str, str]) -> None:
    nvml_stand_in.gpus(1)
    env = {**nvml_stand_in.env, **cpu_only_torch}
    line = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu130"
    done = check("--no-speed", **env)
    assert done.returncode == 1
    cause = "torch 2.15.0+cpu is built for the CPU only, but the machine has NVIDIA GeForce RTX 3090"
    assert f"problem: {cause}" in done.stdout
    assert f"  {line}" in done.stdout
    for asked, kind in (
        ("cuda", "refused: device: cuda needs a GPU, but none is usable"),
        ("auto", "warning: device: training"),
    ):
        arguments = ["train", "--dry-run", "--plain", f"device={asked}"]
        plan = subprocess.run(
            [*COMMAND[:-1], *arguments], env={**os.environ, **env}, capture_output=True, text=True
        ).stdout
        assert kind in plan
        assert cause in plan
        assert line in plan


def test_a_driver_in_trouble_is_a_problem_and_warned_of_unless_the_cpu_is_meant(nvml_stand_in: NvmlStandIn) -> None:
    nvml_stand_in.set({"error.nvmlInitWithFlags": 18})
    why = "the NVIDIA driver and its library have different versions"
    done = check("--no-speed", **nvml_stand_in.env)
    assert done.returncode == 1
    assert f"problem: {why}" in done.stdout
    assert check("--no-speed", "device=cpu", **nvml_stand_in.env).returncode == 0
    plan = subprocess.run(
        [*COMMAND[:-1], "train", "--dry-run", "--plain"],
        env={**os.environ, **nvml_stand_in.env},
        capture_output=True,
        text=True,
    )
    assert f"warning: device: training on the CPU, because the GPU cannot be used ({why}" in plan.stdout


def test_gpu_memory_that_others_hold_makes_the_check_fail(nvml_stand_in: NvmlStandIn, tmp_path: Path) -> None:
    nvml_stand_in.gpus(1, {**RTX_3090, "memory_used": 18 * GIB})
    done = check("--no-speed", "--recipe", "resnet50-imagefolder", "--data", str(tmp_path), **nvml_stand_in.env)
    assert done.returncode == 1
    assert "18 GiB of it in use now: batch_size" in done.stdout


def test_a_torch_that_cannot_be_imported_is_a_problem(cpu_only_torch: dict[str, str]) -> None:
    done = check(**cpu_only_torch)
    assert done.returncode == 1
    assert "problem: the speed test ended with exit code 1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=resnet51"], "there is no 'resnet51'"),
        (["--recipe", "custom"], "custom is not set"),
        (["--recipe", "headpose-biwi", "--data", "{folder}", "mixup=0.2"], "mixup: does not go with"),
        (["--recipe", "cifar10", "--data", "{folder}"], "has no cifar-10-batches-py"),
    ],
)
def test_a_run_that_would_end_in_its_first_seconds_is_refused_by_check_and_dry_run(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    given = [argument.format(folder=tmp_path) for argument in arguments]
    checked = check("--no-speed", *given)
    assert checked.returncode == 1
    assert words in checked.stdout
    dry = subprocess.run([*COMMAND[:-1], "train", "--dry-run", *given], capture_output=True, text=True)
    assert dry.returncode == 2
    assert "refused: " in dry.stdout
    assert words in dry.stdout


def test_bad_input_is_a_problem_too() -> None:
    done = check("--no-speed", "--recipe", "demos")
    assert done.returncode == 1
    assert "problem: unknown recipe 'demos'; did you mean 'demo'?" in done.stdout
