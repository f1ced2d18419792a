"""``gputrain-tui train weights=FILE``: a file that only half fits stops before the start unless forced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes.images import dark_and_light

from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.runs import run_directory
from gputrain.engine.training.networks.simple_cnn import SimpleCNN

COMMAND = [sys.executable, "-m", "gputrain.tui.cli", "train", "--plain"]
SMALL = ["image_size=32", "val_resize=32", "batch_size=4", "width=4", "model=simple_cnn", "precision=fp32", "epochs=1"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return dark_and_light(tmp_path / "images", 6)


def train(images: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "--data", str(images), *SMALL, *arguments], capture_output=True, text=True)


@pytest.mark.long
def test_weights_that_half_fit_stop_before_the_start_unless_forced(images: Path, tmp_path: Path) -> None:
    state = SimpleCNN(2, 4).state_dict()
    del state["stages.1.0.weight"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "part.pth")
    before = len(run_directory.list_runs())
    refused = train(images, f"weights={tmp_path / 'part.pth'}")
    assert refused.returncode == 2
    assert "1 tensors missing in the file (stages.1.0.weight)" in refused.stderr
    assert "--force" in refused.stderr
    assert len(run_directory.list_runs()) == before, "no run was started"
    forced = train(images, f"weights={tmp_path / 'part.pth'}", "--force")
    assert forced.returncode == 0, forced.stderr
    assert "1 stay random: stages.1.0.weight" in forced.stdout + forced.stderr
    assert not read_config(run_directory.find("last").config).model.weights_strict


@pytest.mark.long
def test_mean_and_std_of_a_checkpoint_are_those_of_the_run_that_starts_from_it(images: Path) -> None:
    first = train(images, "mean=0.5", "std=0.25")
    assert first.returncode == 0, first.stderr
    run = run_directory.find("last")
    file = next((run.directory / "checkpoints").glob("step-*.pt"))
    second = train(images, f"weights={file}")
    assert second.returncode == 0, second.stderr
    data = read_config(run_directory.find("last").config).data
    assert (data.mean, data.std) == ("0.5, 0.5, 0.5", "0.25, 0.25, 0.25")


def test_a_file_that_is_no_weights_ends_with_code_2_and_the_remedy(images: Path, tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<!DOCTYPE html>\n<html></html>")
    before = len(run_directory.list_runs())
    refused = train(images, f"weights={tmp_path / 'page.pt'}")
    assert refused.returncode == 2
    assert f"{tmp_path / 'page.pt'} is a web page (HTML or XML), not weights: download it again" in refused.stderr
    assert "weights_only" not in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(run_directory.list_runs()) == before, "no run was started"


@pytest.mark.long
def test_a_clone_with_other_weights_takes_their_mean_and_checks_them(images: Path, tmp_path: Path) -> None:
    """The mean of the old weights would be silently wrong for the new ones."""
    files = []
    for mean in ("0.5", "0.25"):
        made = train(images, f"mean={mean}", "std=0.2")
        assert made.returncode == 0, made.stderr
        files.append(next((run_directory.find("last").directory / "checkpoints").glob("step-*.pt")))
    first = train(images, f"weights={files[0]}")
    assert first.returncode == 0, first.stderr
    source = run_directory.find("last")
    assert read_config(source.config).data.mean == "0.5, 0.5, 0.5"
    clone = [*COMMAND[:3], "clone", source.id, "--plain"]
    made = subprocess.run([*clone, f"weights={files[1]}"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert read_config(run_directory.find("last").config).data.mean == "0.25, 0.25, 0.25"
    same = subprocess.run(clone, capture_output=True, text=True)
    assert same.returncode == 0, same.stderr
    assert read_config(run_directory.find("last").config).data.mean == "0.5, 0.5, 0.5"
    torch.save(SimpleCNN(2, 8).state_dict(), tmp_path / "wide.pth")
    before = len(run_directory.list_runs())
    refused = subprocess.run([*clone, f"weights={tmp_path / 'wide.pth'}"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "does not fit simple_cnn" in refused.stderr
    assert len(run_directory.list_runs()) == before


@pytest.mark.long
def test_a_dry_run_says_what_force_overrules(images: Path, tmp_path: Path) -> None:
    state = SimpleCNN(2, 4).state_dict()
    del state["stages.1.0.weight"]
    torch.save(state, tmp_path / "part.pth")
    refused = train(images, f"weights={tmp_path / 'part.pth'}", "--dry-run")
    assert refused.returncode == 2
    (line,) = [line for line in refused.stdout.splitlines() if "1 tensors missing in the file" in line]
    assert line.startswith("refused: weights: ")
    forced = train(images, f"weights={tmp_path / 'part.pth'}", "--dry-run", "--force")
    assert forced.returncode == 0
    (line,) = [line for line in forced.stdout.splitlines() if "1 tensors missing in the file" in line]
    assert line.startswith("overruled: weights: ")
    assert line.endswith("(--force starts anyway)")
    assert "refused: " not in forced.stdout
    (fact,) = [line for line in forced.stdout.splitlines() if line.endswith("; 1 stay random: stages.1.0.weight")]
    assert fact.startswith("weights  ")
    # What --force can't overrule stays refused.
    other = train(images, f"weights={tmp_path / 'part.pth'}", "val_resize=16", "--dry-run", "--force")
    assert other.returncode == 2
    assert [line.partition(": ")[0] for line in other.stdout.splitlines() if line.startswith(("overr", "refus"))] == [
        "overruled",
        "refused",
    ]
