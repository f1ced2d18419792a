"""Each benchmark runs with small parameters and returns its documented values and ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.images import dark_and_light

HERE = Path(__file__).parent
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("benchmarks")]


def answer(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_step() -> None:
    keys = ("bare", "ours")
    small = ("--rounds", "1", "--lives", "1", "--size", "32", "--batch-size", "4", "--steps", "2")
    found = answer(str(HERE / "step.py"), "--json", *small, "--only", *keys)
    for key in keys:
        assert found["figures"][key]["images_per_second"] > 0, found
    assert found["ratios"]["loop_vs_bare"] > 0
    assert found["ratios"]["loop_vs_timm"] is None
    assert found["reasons"]["loop_vs_timm"] == "not run"


def test_start() -> None:
    found = answer(str(HERE / "start.py"), "--json", "--rounds", "1", "--models", "simple_cnn", "--workers", "1")
    assert found["ratios"]["first_step_vs_bare_script"] > 0
    phases = found["figures"]["demo_phases"]
    order = [phases["supervisor_s"], phases["data_s"], phases["model_s"], found["figures"]["demo_first_step_s"]]
    assert order == sorted(order), found


def test_scaling() -> None:
    found = answer(str(HERE / "scaling.py"), "--json", "--ranks", "2", "--steps", "2")
    assert found["figures"]["2"]["bandwidth"] > 0, found
    assert 0 < found["figures"]["2"]["predicted_efficiency"] < 1
    assert found["ratios"]["predicted_vs_measured_2"] > 0


def test_many_ranks() -> None:
    found = answer(str(HERE / "many_ranks.py"), "--json", "--ranks", "16", "--settle", "1", "--seconds", "4")
    figures = found["figures"]["16"]
    assert figures["events_per_s"] > 1, found
    assert figures["supervisor_cpu_percent"] > 0
    assert figures["dashboard_cpu_percent"] > 0, found


def test_distributed() -> None:
    size = ("--rounds", "1", "--size", "32", "--batch-size", "4", "--steps", "2")
    small = (*size, "--repeats", "1", "--scaling-steps", "2")
    found = answer(str(HERE / "distributed.py"), "--json", *small, "--only", "ours", "ddp", "ours_alone")
    for key in ("ours", "ddp", "ours_alone"):
        assert found["figures"][key]["images_per_second"] > 0, found
    assert found["figures"]["rank_killed_to_training_s"] > 0
    assert found["ratios"]["ours_vs_ddp"] > 0
    assert found["ratios"]["scaling_2"] > 0
    assert found["ratios"]["scaling_2_vs_prediction"] > 0
    assert found["ratios"]["vs_lightning"] is None
    assert found["reasons"]["vs_lightning"] == "not run"


def test_checkpoint() -> None:
    small = ("--rounds", "1", "--size", "32", "--batch-size", "4", "--steps", "3", "--model", "mobilenet_v3_small")
    found = answer(str(HERE / "checkpoint.py"), "--json", *small)
    assert found["figures"]["none"]["images_per_second"] > 0, found
    assert found["figures"]["checkpoint_bytes"] > 2_500_000 * 8
    assert found["ratios"]["async_vs_none"] > 0
    assert found["ratios"]["held_vs_none"] > 0


def test_shards(tmp_path: Path) -> None:
    small = ("--images", "128", "--rounds", "1", "--workers", "1", "--shard-mib", "2", "--folder", str(tmp_path))
    keys = ("folder", "tar", "parquet", "mds", "litdata", "tfrecord", "arrow")
    found = answer(str(HERE / "shards.py"), "--json", *small, "--only", *keys)
    for key in keys:
        assert found["figures"][key]["images_per_second"] > 0, found
    assert found["ratios"]["tar_vs_folder"] > 0
    assert found["ratios"]["tar_vs_webdataset"] is None
    assert found["reasons"]["tar_vs_webdataset"] == "not run"
    for name in ("vs_litdata", "vs_mosaicml", "parquet_vs_hf_datasets", "cold_tar_vs_cold_folder"):
        assert found["ratios"][name] is None
        assert found["reasons"][name] == "not run"
    assert found["figures"]["index"]["bytes_per_image"] <= 40


def test_end_to_end(tmp_path: Path) -> None:
    small = ("--images", "96", "--rounds", "1", "--workers", "1", "--folder", str(tmp_path))
    found = answer(str(HERE / "end_to_end.py"), "--json", *small, "--only", "loader", "equal", "equal_alone")
    assert found["figures"]["equal"]["images_per_second"] > 0
    assert found["ratios"]["stand_in_equal_vs_limit"] > 0
    # What was not run has a reason instead of a figure.
    assert found["ratios"]["end_to_end_vs_limit"] is None
    assert found["reasons"]["end_to_end_vs_limit"]


def test_convergence(tmp_path: Path) -> None:
    images = dark_and_light(tmp_path, 6)
    small = ["dataset=imagefolder", f"data_dir={images}", "epochs=1", "image_size=32", "val_resize=36"]
    sizes = ["batch_size=4", "width=4", "accumulation_steps=1"]
    found = answer(str(HERE / "convergence.py"), "--json", "--seeds", "2", "--only", "demo", "--", *small, *sizes)
    assert len(found["figures"]["demo_standard"]["accuracy"]) == 2
    assert found["ratios"]["demo_optimized_vs_standard"] > 0


def test_dashboard() -> None:
    small = ("--seconds", "3", "--settle", "1", "--past", "60", "--gpus", "8", "--rounds", "2", "--turn", "1")
    found = answer(str(HERE / "dashboard.py"), "--json", *small, "--peers", "bare_textual", "nvtop")
    for key in ("first_paint_ms", "bytes_per_s", "bytes_per_s_low_bandwidth", "rss_mib", "supervisor_rss_mib"):
        assert found["figures"][key] > 0, key
    for key in ("cpu_percent_8gpu", "supervisor_cpu_percent", "training_slowdown_percent"):
        assert isinstance(found["figures"][key], float), key
    assert found["figures"]["programs"]["dashboard_8gpu"]["first_figure_ms"] > 0
    assert found["ratios"]["dashboard_bytes_vs_bare_textual"] > 0
    assert found["ratios"]["dashboard_cpu_vs_nvitop"] is None
    assert found["reasons"]["dashboard_cpu_vs_nvitop"] == "not run"
    assert found["ratios"]["supervisor_cpu_vs_bare_textual"] > 0
    assert 0.5 < found["ratios"]["training_rate_vs_bare_textual"] < 2


def test_diagnosis(tmp_path: Path) -> None:
    traces = tmp_path / "traces.jsonl"
    small = ("--runs", "1", "--quiet", "0", "--folder", str(tmp_path), "--traces", str(traces))
    found = answer(str(HERE / "diagnosis.py"), "--json", *small, "--only", "checkpoints")
    figures = found["figures"]
    assert figures["top1_strong"]["count"] == 1
    assert figures["top1_mild"]["count"] == 1
    assert figures["pairs_first"]["value"] is None
    low, high = figures["top1_strong"]["interval"]
    assert 0 <= low < high <= 1
    assert set(figures["matrix"]) >= {"single: checkpoints (strong)", "single: checkpoints (mild)"}
    verdicts = [json.loads(line) for line in traces.read_text().splitlines()]
    # Whatever else this machine does meanwhile, a stall of a third of the time is seen.
    strong = next(one for one in verdicts if (one["group"], one["strength"]) == ("single", "strong"))
    assert "checkpoints" in strong["said"]
    assert strong["signals"]["saving"] > 0.1
    # What the trainer's loop asks for is asked for here too.
    for name in ("busy", "cpu_ratio", "read_share", "lock_share", "run_cpu", "utilization"):
        assert strong["signals"][name] is not None, name


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, whose traces take minutes")
def test_diagnosis_without_a_gpu(tmp_path: Path) -> None:
    found = answer(str(HERE / "diagnosis.py"), "--json", "--gpu", "--runs", "1", "--folder", str(tmp_path))
    assert found["figures"]["gpu_top1"]["value"] is None
    assert len(found["figures"]["unavailable"]) >= 6
    assert all("CUDA" in why for why in found["figures"]["unavailable"])
    assert found["gpu"] is None


def test_long_record() -> None:
    found = answer(str(HERE / "long_record.py"), "--json", "--events", "160000")["figures"]
    assert found["newest_event"] >= 160_000
    assert found["events_read"] < 60_000
    assert found["open_seconds"] > 0
    assert found["dashboard_first_figure_ms"] > 0


def test_accounting(tmp_path: Path) -> None:
    small = ("--images", "96", "--rounds", "1", "--workers", "1", "--folder", str(tmp_path))
    found = answer(str(HERE / "accounting.py"), "--json", *small)
    # By CPU time of the calls alone, which a busy machine hardly changes.
    assert 0 < found["figures"]["accounting_share"] < 0.005
    assert found["ratios"]["accounted_vs_bare_per_cpu_second"] > 0


def test_recipes() -> None:
    found = answer(str(HERE / "recipes.py"), "--json", "--only", "simple-cnn", "custom")["figures"]
    assert {name: one["summary"]["outcome"] for name, one in found.items()} == {
        "simple-cnn": "finished",
        "custom": "finished",
    }
    assert found["custom"]["command"].startswith("gputrain-tui train --recipe custom --data DATA epochs=1")


def test_many_runs() -> None:
    found = answer(str(HERE / "many_runs.py"), "--json", "--runs", "30")["figures"]
    assert found["runs"] == 30
    assert all(found[name] > 0 for name in ("listed_ms", "command_ms", "again_ms"))


@pytest.mark.alone
def test_rank_records() -> None:
    found = answer(str(HERE / "rank_records.py"), "--json", "--ranks", "16", "--settle", "1", "--seconds", "3")
    figures = found["figures"]["16"]
    # Each of the 14 other ranks every two seconds, and the real one.
    assert figures["events_per_s"] > 3
    assert 0 < figures["rank_0_store_percent"] < figures["rank_0_percent"] < 50
    assert 0 < figures["rank_percent"] < 50


def test_faults() -> None:
    names = ("torn_record", "damaged_files", "two_launches")
    found = answer(str(HERE / "faults.py"), "--json", "--tries", "1", "--only", *names)
    assert set(found["figures"]) == set(names)
    for fault in found["figures"].values():
        assert (fault["tries"], fault["survived"], fault["lost"]) == (1, 1, 0), fault


def test_exec() -> None:
    found = answer(str(HERE / "exec.py"), "--json", "--turns", "5")
    assert found["figures"]["step_us_1ms"] > 500, found
    assert found["figures"]["startup_ms"] > 0
    # Without an interpreter that has it, nothing is said of it.
    assert found["ratios"]["overhead_vs_traceml"] is None
    assert found["reasons"]["overhead_vs_traceml"]
