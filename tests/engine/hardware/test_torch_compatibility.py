"""Whether torch supports a GPU and a driver, by table, and versions read without importing torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from gputrain.engine.hardware.torch_build import TorchBuild, needed_torch, read_torch_build
from gputrain.engine.hardware.torch_compatibility import gpu_problem, install_command, torchvision_problem

CPU_ONLY = TorchBuild(version="2.15.0+cpu", cuda="", torchvision="0.30.0+cpu")
CUDA_13 = TorchBuild(version="2.15.0+cu132", cuda="13.2", torchvision="0.30.0+cu132")
CUDA_12 = TorchBuild(version="2.14.1+cu126", cuda="12.6", torchvision="0.29.1+cu126")


def fault(build: TorchBuild | None, capability: tuple[int, int] | None, driver: str) -> str:
    found = gpu_problem(build, "Some GPU", capability, driver)
    return found.reason if found else ""


@pytest.mark.parametrize(
    ("build", "capability", "driver", "said"),
    [
        (CPU_ONLY, (8, 6), "13.0", "torch 2.15.0+cpu is built for the CPU only, but the machine has Some GPU"),
        (CPU_ONLY, None, "", "torch 2.15.0+cpu is built for the CPU only, but the machine has Some GPU"),
        (CUDA_13, (8, 6), "13.0", ""),
        (CUDA_13, (7, 5), "13.2", ""),
        (CUDA_13, (7, 0), "13.0", "torch 2.15.0+cu132 has no kernels for compute capability 7.0 (Some GPU)"),
        (CUDA_13, (6, 1), "13.0", "torch 2.15.0+cu132 has no kernels for compute capability 6.1 (Some GPU)"),
        (CUDA_13, (8, 6), "12.4", "torch 2.15.0+cu132 needs a driver for CUDA 13, and this one supports 12.4"),
        (CUDA_13, (8, 6), "", ""),
        (CUDA_13, None, "13.0", ""),
        (CUDA_12, (6, 1), "12.2", ""),
        (CUDA_12, (9, 0), "13.0", ""),
        (CUDA_12, (12, 0), "13.0", "torch 2.14.1+cu126 has no kernels for compute capability 12.0 (Some GPU)"),
        (None, (8, 6), "13.0", ""),
    ],
)
def test_torch_build_that_cannot_use_the_gpu(
    build: TorchBuild | None, capability: tuple[int, int] | None, driver: str, said: str
) -> None:
    assert fault(build, capability, driver) == said


@pytest.mark.parametrize(
    ("capability", "driver", "wheel"),
    [
        ((8, 6), "13.0", "cu130"),
        ((8, 6), "13.4", "cu130"),
        ((12, 0), "13.0", "cu130"),
        ((8, 6), "12.4", "cu126"),
        ((7, 0), "13.0", "cu126"),
        ((6, 1), "12.2", "cu126"),
        ((12, 0), "12.8", "cu128"),
        ((12, 0), "12.4", ""),
        ((8, 6), "11.8", ""),
        (None, "", "cu130"),
    ],
)
def test_install_command_for_gpu_and_driver(capability: tuple[int, int] | None, driver: str, wheel: str) -> None:
    line = install_command(capability, driver)
    assert line.endswith(f"--index-url https://download.pytorch.org/whl/{wheel}") if wheel else not line
    if wheel:
        # The installed build passes the same check.
        cuda = {"cu130": "13.0", "cu126": "12.6", "cu128": "12.8"}[wheel]
        assert fault(TorchBuild(version=f"2.10.0+{wheel}", cuda=cuda), capability, driver) == ""


@pytest.mark.parametrize(
    ("version", "vision", "needs", "said"),
    [
        ("2.9.1+cu130", "0.24.1+cu130", "==2.9.1", ""),
        ("2.9.1", "0.24.1", "==2.9.1", ""),
        ("2.9.0", "0.24.1", "==2.9.1", "torchvision 0.24.1 needs torch ==2.9.1, but 2.9.0 is installed"),
        ("2.15.0", "0.29.2", ">=2.14.0", ""),
        ("2.13.0", "0.29.2", ">=2.14.0,<3", "torchvision 0.29.2 needs torch >=2.14.0,<3, but 2.13.0 is installed"),
        ("2.9.1", "0.24", "==2.9.*", ""),
        ("2.9.1", "0.24", "~=2.9", ""),
        ("2.9.1", "0.24", "something else", ""),
        ("2.9.1+cu130", "0.24+cpu", "", "torchvision 0.24+cpu and torch 2.9.1+cu130 are built for different devices"),
        ("2.9.1", "", "", "torchvision is not installed"),
    ],
)
def test_torchvision_that_does_not_fit_torch(version: str, vision: str, needs: str, said: str) -> None:
    assert torchvision_problem(TorchBuild(version=version, cuda="13.0", torchvision=vision), needs) == said


def test_read_versions_match_the_imported_torch() -> None:
    build = read_torch_build()
    assert build is not None
    assert build.version == torch.__version__
    assert build.cuda == (torch.version.cuda or "")
    assert build.torchvision == torchvision.__version__
    assert torchvision_problem(build, needed_torch()) == ""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"torch/__init__.py": "raise OSError", "torch/version.py": "__version__='9.9+cpu'\ncuda=None\n"}, "9.9+cpu||"),
        ({"torch/__init__.py": "", "torch/version.py": "cuda: Optional[str] = '13.0'"}, "unknown|13.0|"),
        ({"torch/__init__.py": "", "torch/version.py": "no python at all"}, "None"),
        ({"torch.py": ""}, "None"),
    ],
)
def test_version_is_read_without_import(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("__init__.py", "version.py"):
        (tmp_path / "torchvision").mkdir(exist_ok=True)
        (tmp_path / "torchvision" / name).write_text("raise SystemExit")
    code = (
        "from gputrain.engine.hardware.torch_build import read_torch_build as r; b = r();"
        "print(b and f'{b.version}|{b.cuda}|{b.torchvision[:0]}')"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == said, done.stderr
