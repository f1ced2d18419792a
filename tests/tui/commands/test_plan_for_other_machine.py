"""``train --dry-run --machine``: plans for other machines."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fakes.machines import with_gpu
from fakes.plans import plan_of

from gputrain.profiles import catalog
from gputrain.profiles.assumed_machine import machine_of, parse
from gputrain.tui.cli import main
from gputrain.tui.widgets.plan_view import plan_lines


def text_shown(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main.main(["train", "--dry-run", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under the line that begins with `heading`."""
    lines = text.split(f"\n{heading}", 1)[1].split("\n")[1:]
    return [re.split(r"\s{2,}", line.strip()) for line in lines[:4]]


def test_the_tables_of_seed_003_without_its_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    shown = text_shown(capsys, "--recipe", "imagenet-resnet50", "--machine", "a10g-23gb,images=1281167")
    # Its figures: 59, 15, 8 and 7 GB, as ours are in GiB; about 230 MB a batch, 147 MiB of them the tensor.
    assert rows(shown, "workers  batches each") == [
        ["32", "8", "256", "9.2 GiB", "55 GiB"],
        ["16", "4", "64", "2.3 GiB", "14 GiB"],
        ["12", "3", "36", "1.3 GiB", "7.7 GiB"],
        ["8", "4", "32", "1.1 GiB", "6.9 GiB"],
    ]
    assert [(row[0], row[1], row[2], row[5]) for row in rows(shown, "GPUs  images per update")] == [
        ("1", "256", "12", "0.5"),
        ("2", "512", "24", "1"),
        ("4", "1024", "48", "2"),
        ("8", "2048", "96", "4"),
    ]
    assert "4×1   1024               48       1.3 GiB     7.7 GiB     2" in shown
    speeds = rows(shown, "GPUs  images per second")
    assert speeds[0] == ["1", "205 to 384", "100.0%", "-", "step", *speeds[0][5:]]
    assert speeds[0][5:] == ["55 min 36 s to 1 h 44 min", "3 d 20 h to 7 d 5 h", "-"]
    shares = [float(row[2].rstrip("%")) for row in speeds]
    assert [row[0] for row in speeds] == ["1", "2", "4", "8"]
    assert shares == sorted(shares, reverse=True)
    for text in (
        "speed of one: one GPU's speed, the A10G guide",
        "within a machine: 20 GB/s (pcie4, assumed: measured",
        "between machines: 1 GB/s (10GbE, assumed: 80 % of the line rate",
        "36 batches of 147 MiB",
        "VRAM                  13 GiB of 22 GiB",
        "5,004 batches per epoch",
        "55 min 36 s to 1 h 44 min per epoch, 3 d 20 h to 7 d 5 h in total (the A10G guide",
        "NVIDIA A10G, 22 GiB, assumed (another machine)",
        "warning: planned for another machine, not for this one: NVIDIA A10G, 22 GiB, 16 cores and 62 GiB of RAM",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("machine", "recipe", "batch", "workers"),
    [
        ("rtx-4500-ada-24gb", "deepfake-convlstm", 16, 8),
        ("rtx-3090-24gb,cores=12", "headpose-300wlp", 128, 8),
        ("rtx-3060-12gb,cores=8", "simple-cnn", 64, 2),
        ("v100-16gb", "resnet50-imagefolder", 192, None),
    ],
)
def test_other_machines(
    capsys: pytest.CaptureFixture[str], machine: str, recipe: str, batch: int, workers: int | None
) -> None:
    output: dict[str, Any] = json.loads(text_shown(capsys, "--json", "--recipe", recipe, "--machine", machine))
    assert output["config"]["profile"] == machine.partition(",")[0]
    data = output["config"]["data"]
    assert workers is None or data["num_workers"] == workers
    assert data["batch_size"] == batch
    assert output["vram"] is not None
    assert output["warnings"][0].startswith("planned for another machine")


def test_several_gpus_have_a_predicted_time_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    machine = "a10g-23gb,gpus=4,images=1281167"
    values = ("devices=4", "network_bandwidth=25GbE", "cost_per_hour=6", "gradient_compression=bf16")
    output = json.loads(text_shown(capsys, "--json", "--recipe", "imagenet-resnet50", "--machine", machine, *values))
    facts = dict(output["facts"])
    assert facts["scaling"].startswith("4 ranks: 81")
    assert "efficiency 99." in facts["scaling"]
    assert "49 MiB sent as bf16" in facts["gradients"]
    assert "during the backward pass" in facts["exchange"]
    assert "pcie4, assumed" in facts["GPU bandwidth"]
    row = next(row for row in output["speeds"] if (row["gpus"], row["nodes"]) == (4, 1))
    assert output["eta"] == row["eta"]
    assert row["cost"] == pytest.approx([6 * row["eta"][name] / 3600 for name in ("total_low", "total_high")])
    assert f"{row['cost'][0]:,.2f} to {row['cost'][1]:,.2f} in total" in facts["cost"]


def test_what_is_assumed_and_what_is_as_here() -> None:
    here = with_gpu("Some GPU", 8.0, (7, 5), cores=6.0)
    seed = machine_of(parse("a10g-23gb"), here)
    assert (seed.usable_cores, round(seed.memory_limit / 2**30), seed.gpus[0].capability) == (16, 62, (8, 6))
    mine = machine_of(parse("l4-24gb, ram=100"), here)
    assert (mine.usable_cores, round(mine.memory_limit / 2**30)) == (6.0, 100)
    assert mine.assumed.endswith("6 cores and 100 GiB of RAM (cores as here)")
    assert machine_of(parse("cpu,cores=64"), here).gpus == ()


@pytest.mark.parametrize("name", sorted(entry.name for entry in catalog.profile_entries()))
def test_each_profile_describes_a_machine_that_it_is_for(name: str) -> None:
    if name in ("cpu", "unknown-nvidia") or name.startswith("laptop"):
        return
    assert catalog.fits(catalog.load_profile(name), machine_of(parse(name), with_gpu("Some GPU", 8.0, (7, 5))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--machine", "a10g"], "unknown profile 'a10g'; did you mean 'a10g-23gb'"),
        (["--machine", "unknown-nvidia"], "profile unknown-nvidia is for many GPUs"),
        (["--machine", "l4-24gb,core=3"], "unknown 'core=3'; did you mean 'cores'"),
        (["--machine", "l4-24gb,cores=few"], "cores must be a number above 0, got 'few'"),
        (["--machine", "l4-24gb,ram=-1"], "ram must be a number above 0, got '-1'"),
        (["--machine", "l4-24gb,ram=nan"], "ram must be a number above 0, got 'nan'"),
        (["--machine", "l4-24gb", "--calibrate"], "it needs --dry-run and excludes --calibrate"),
    ],
)
def test_what_cannot_be_assumed_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in text_shown(capsys, *arguments, code=2)


def test_no_run_starts_for_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["train", "--machine", "l4-24gb"]) == 2
    assert "--machine plans for another machine" in capsys.readouterr().err


def test_the_launchers_plan_has_the_tables_too() -> None:
    plan = plan_of(with_gpu("NVIDIA A10G", 22.5, (8, 6)), batch_size=256, num_workers=12, prefetch_factor=3, lr=0.5)
    for columns in (60, 116, 200):
        drawn = [" ".join("".join(text for text, _ in spans).split()) for spans in plan_lines(plan, columns)]
        assert any(row.endswith("8 2048 96 10 GiB 62 GiB 4") for row in drawn)
        assert any(row.endswith("12 3 36 1.3 GiB 7.7 GiB") for row in drawn)
