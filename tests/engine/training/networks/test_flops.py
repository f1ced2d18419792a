"""FLOPs against published values, and peak rates by device name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from gputrain.engine.hardware.peak_flops import peak_flops
from gputrain.engine.training.networks.flops import flops_per_image


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_step_costs_three_forward_passes(name: str) -> None:
    network = models.get_model(name)
    # torchvision publishes multiply-adds of the forward pass.
    weights = models.get_model_weights(name).DEFAULT
    multiply_adds = weights.meta["_ops"] * 1e9
    found = flops_per_image(network, 224)
    assert found is not None
    # The first layer needs no gradient of its images: a little under three times.
    assert 0.95 < found / (3 * 2 * multiply_adds) < 1.0
    assert next(network.parameters()).device.type == "cpu"


def test_flops_are_unknown_for_a_network_without_image_input() -> None:
    assert flops_per_image(nn.Embedding(10, 4), 32) is None
    assert flops_per_image(nn.Linear(10, 4), 32) is None


class _Asks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(images)
        return found if found.mean().item() > 0 else -found


def test_flops_are_unknown_for_a_network_without_meta_support() -> None:
    assert flops_per_image(_Asks(), 32) is None


@pytest.mark.parametrize(
    ("name", "precision", "tf32", "tera"),
    [
        ("NVIDIA H200", "bf16", True, 989.0),
        ("NVIDIA H100 80GB HBM3", "bf16", True, 989.0),
        ("NVIDIA H100 PCIe", "fp16", True, 756.0),
        ("NVIDIA A100-SXM4-80GB", "fp32", True, 156.0),
        ("NVIDIA A100-SXM4-80GB", "fp32", False, 19.5),
        ("NVIDIA GeForce RTX 3080 Ti", "fp16", True, 68.2),
        ("NVIDIA GeForce RTX 3080", "fp16", True, 59.5),
        ("NVIDIA GeForce GTX 1080 Ti", "fp16", True, 11.3),
        ("Tesla V100-PCIE-32GB", "fp16", True, 112.0),
        ("Tesla T4", "fp32", True, 8.1),
        ("NVIDIA L40S", "bf16", True, 362.0),
        ("NVIDIA A10G", "bf16", True, 70.0),
    ],
)
def test_peaks_are_found_by_the_devices_name(name: str, precision: str, tf32: bool, tera: float) -> None:
    found = peak_flops(name, precision, tf32=tf32)  # type: ignore[arg-type]
    assert found == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4070 Ti",
        "NVIDIA GeForce RTX 4080 SUPER",
        "NVIDIA GeForce RTX 3080 Laptop GPU",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GH200 480GB",
        "Intel Xeon",
    ],
)
def test_a_similar_device_name_has_no_peak_rate(name: str) -> None:
    assert peak_flops(name, "bf16", tf32=True) is None
