"""The settings for the bandwidth between GPUs and between machines."""

from __future__ import annotations

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.sections import link_bandwidth


@pytest.mark.parametrize(
    ("given", "kept", "figure"),
    [
        ("25gbe", "25GbE", 2.5e9),
        ("NVLink", "nvlink4", 370e9),
        ("pcie", "pcie4", 20e9),
        ("12 GB/s", "12GB/s", 12e9),
        ("9.6Gb/s", "9.6Gb/s", 1.2e9),
        ("auto", "auto", 10e9),
    ],
)
def test_names_and_figures(given: str, kept: str, figure: float) -> None:
    value = settings.check(settings.find("gpu_bandwidth"), given)
    assert value == kept
    assert link_bandwidth.parse(value, "pcie3").bytes_per_second == pytest.approx(figure)


@pytest.mark.parametrize("given", ["12", "fast", "12GiB/s", "-1GB/s", "0GB/s", "1e3GB/s", "12 G", "", "nan GB/s"])
def test_what_is_no_bandwidth_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="network_bandwidth must be auto, an interconnect"):
        settings.check(settings.find("network_bandwidth"), given)


def test_the_origin_is_said() -> None:
    assert str(link_bandwidth.parse("12GB/s", "pcie4")) == "12 GB/s"
    assert "pcie4, assumed: measured between A100s" in str(link_bandwidth.parse("auto", "pcie4"))


def test_the_interconnect_by_the_name_of_the_gpu() -> None:
    names = (
        "NVIDIA H100 80GB HBM3",
        "NVIDIA H100 PCIe",
        "NVIDIA A100-SXM4-40GB",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA B200",
    )
    assert [link_bandwidth.of_gpu(name) for name in names] == ["nvlink4", "pcie4", "nvlink3", "pcie4", "nvlink5"]
