"""Settings of a training on several GPUs; a section of `RunConfig`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gputrain.engine.configuration.sections import link_bandwidth
from gputrain.engine.configuration.sections.host_list import parse_hosts

ALL = "all"
"""Value of `devices` for all usable GPUs; the plan replaces it by their number."""


def parse_devices(value: Any) -> Any:
    """The setting `devices` as a number; 0 for ``all``."""
    return 0 if value == ALL else value


class DistributedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training on several devices."""

    global_batch_size: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31 - 1,
            description="images per update over all devices; accumulation_steps follows from it; "
            "0: batch_size × devices × accumulation_steps",
        ),
    ] = 0
    gradient_compression: Annotated[
        Literal["none", "bf16"],
        Meta(description="send gradients between devices as they are, or rounded to bf16: half the bytes"),
    ] = "none"
    sharding: Annotated[
        Literal["none", "zero1", "full"],
        Meta(
            description="zero1: each device keeps the optimizer's state of its share of the weights (ZeRO stage 1); "
            "full: also of the weights and gradients (FSDP2)"
        ),
    ] = "none"
    bucket_mib: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="MiB of gradients in one all-reduce: smaller ones overlap more with the backward pass, larger "
            "ones have fewer delays",
        ),
    ] = 25
    sync_batchnorm: Annotated[
        bool, Meta(description="BatchNorm statistics over the batches of all GPUs in training (SyncBatchNorm)")
    ] = False
    hosts: Annotated[
        str,
        Meta(
            description="machines to train on, each with `devices` processes, started over ssh: user@host:port, …; "
            "empty: this machine",
            extra={"parse": parse_hosts},
        ),
    ] = ""
    min_nodes: Annotated[
        int, Meta(ge=1, le=4096, description="after the loss of a host, go on with at least so many of `hosts`")
    ] = 1
    node_timeout: Annotated[
        float, Meta(ge=3, le=600, description="seconds without a heartbeat after which one of `hosts` is lost")
    ] = 10.0
    master_addr: Annotated[
        str, Meta(description="address of the first of `hosts` at which the others reach it; empty: found at the start")
    ] = ""
    remote_python: Annotated[
        str, Meta(description="Python on `hosts` that has this package; empty: the same path as here")
    ] = ""
    max_restarts: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="restarts of all ranks from the newest checkpoint after one is lost, without progress between; "
            "auto_resume restarts after other crashes, too",
        ),
    ] = 3
    rank_timeout: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description="seconds without a heartbeat after which a rank that a launcher started is lost; 0: never",
        ),
    ] = 20.0
    gpu_bandwidth: Annotated[
        str,
        Meta(
            description="for predictions: the link between the GPUs of a machine: nvlink2 … nvlink5, pcie3 … pcie5, "
            "or a measured figure such as 12GB/s; auto: by the name of the GPU",
            extra={"parse": link_bandwidth.normalised},
        ),
    ] = link_bandwidth.AUTO
    network_bandwidth: Annotated[
        str,
        Meta(
            description="for predictions: the network between machines: 1GbE, 10GbE, 25GbE … 400GbE, or a measured "
            "figure such as 1.1GB/s or 9Gb/s; auto: 10GbE",
            extra={"parse": link_bandwidth.normalised},
        ),
    ] = link_bandwidth.AUTO
