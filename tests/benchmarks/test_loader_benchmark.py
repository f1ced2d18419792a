from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.long
@pytest.mark.slow
def test_the_benchmark_names_figures_ratios_and_reasons(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / "loader.py"), "--json", "--images", "128", "--rounds", "1", "--workers", "1"]
    keys = ["torchvision", "dali_cpu", "ours"]
    done = subprocess.run([*command, "--folder", str(tmp_path), "--only", *keys], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for key in ("torchvision", "ours"):
        assert answer["figures"][key]["images_per_second"] > 0
        assert answer["figures"][key]["images_per_cpu_second"] > 0
    assert answer["ratios"]["no_cache_vs_torchvision"] > 0
    for name in ("no_cache_vs_dali_cpu", "no_cache_vs_ffcv_jpeg", "raw_cache_vs_ffcv_raw"):
        # A peer that did not run has a reason instead of a figure.
        assert (answer["ratios"][name] is None) == bool(answer["reasons"].get(name))
    assert answer["reasons"]["no_cache_vs_ffcv_jpeg"] == "not run"
    assert answer["versions"]["simplejpeg"]
