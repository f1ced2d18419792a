"""Remedies for causes other than data loading: checkpoints, copies, kernel launches, precision, cooling. Pure.

Each function returns the `Fix` of one cause: the action in words, and the settings that carry it out, if any.
"""

from __future__ import annotations

from typing import Any

from gputrain.engine.common.units import MIB
from gputrain.engine.configuration.engine_choice import is_keras
from gputrain.engine.configuration.sections import link_bandwidth
from gputrain.engine.diagnosis.tree_nodes import Fix
from gputrain.engine.diagnosis.windows.signals import Signals
from gputrain.engine.estimates import all_reduce
from gputrain.engine.estimates.all_reduce import Link

_FP16_FROM, _BF16_FROM = 7.0, 8.0
"""Compute capabilities from which tensor cores have these formats."""
VRAM_ROOM = 0.60
"""Peak share of GPU memory up to which a doubled batch size is proposed."""
_BUCKETS = (1, 2, 5, 10)
"""Values of `bucket_mib` that are proposed."""
LEAST_HIDDEN = 0.25
"""Least share of the exchange that smaller buckets hide where they are proposed."""
SLOW_LINK = 0.5
"""Share of an interconnect's bandwidth below which the hint names the link."""


def _has_room(s: Signals) -> bool:
    return s.vram is not None and s.vram < VRAM_ROOM and bool(s.setting("batch_size", 0))


def saving(s: Signals) -> Fix:
    """Asynchronous checkpoints, or fewer of them."""
    if not s.setting("async_checkpoints", True):
        return Fix(
            "Write checkpoints in the background while training continues: async_checkpoints=true.",
            {"async_checkpoints": True},
        )
    steps, epochs = s.setting("checkpoint_steps", 0), s.setting("checkpoint_epochs", 1)
    if not steps and not epochs:
        every = 2 * s.setting("validate_epochs", 1)
        return Fix(
            "Only the best checkpoint is saved, after a validation. Validate less often, and it is saved less often: "
            f"validate_epochs={every}.",
            {"validate_epochs": every},
        )
    name, value = ("checkpoint_steps", 4 * steps) if steps else ("checkpoint_epochs", 4 * epochs)
    return Fix(f"Save less often: {name}={value}.", {name: value})


def validating(s: Signals) -> Fix:
    """Fewer validations."""
    every = 2 * s.setting("validate_epochs", 1)
    return Fix(f"Validate less often (validate_epochs={every}), or on fewer images.", {"validate_epochs": every})


def slow_rank(s: Signals) -> Fix:
    """Names the slowest rank, and where to look: its data workers, its GPU or its cores."""
    if (s.late_by_data or 0.0) >= 0.5:
        return Fix(
            f"Rank {s.slowest_rank} waits for data while the other ranks compute. Check the storage and cores that its "
            "data workers use; num_workers counts per rank."
        )
    place = f"GPU {s.slowest_rank}, its clock and its power limit" if s.on_gpu else "its cores"
    return Fix(f"Rank {s.slowest_rank} computes more slowly than the others. Check for other programs on {place}.")


def communication(s: Signals) -> Fix:
    """Fewer bytes, fewer all-reduces per image, or a faster link."""
    times = 2 * s.setting("accumulation_steps", 1)
    rarer = f"accumulation_steps={times}"
    rarer = f"batch_size={2 * s.setting('batch_size', 1)} or {rarer}" if _has_room(s) else f"batch_size or {rarer}"
    less = f"Reduce gradients less often: a larger {rarer} (each update then uses twice as many images)."
    if (smaller := smaller_buckets(s)) is not None:
        mib, hidden = smaller
        overlap = f"Then the backward pass hides about {hidden:.0%} of what the ranks wait for now."
        return Fix(f"Send the gradients in smaller parts: bucket_mib={mib}. {overlap} {less}", {"bucket_mib": mib})
    if s.setting("gradient_compression", "none") == "none":
        return Fix(
            f"Send half the bytes: gradient_compression=bf16. {less}{_link(s)}", {"gradient_compression": "bf16"}
        )
    return Fix(less + _link(s), {"accumulation_steps": times})


def smaller_buckets(s: Signals) -> tuple[int, float] | None:
    """A smaller `bucket_mib`, and the share of the exchange that it hides; None where it explains nothing.

    The last bucket is sent after the backward pass. The model of the plan has to explain the measured exchange within a
    factor of two, by the links' usual bandwidth.
    """
    if not s.on_gpu or not s.gradient_bytes or not s.least_exchange or not s.step_seconds or s.ranks < 2:
        return None
    sent = 0.5 if s.setting("gradient_compression", "none") == "bf16" else 1.0
    link = Link(_usual_link(s).bytes_per_second, all_reduce.NETWORK_LATENCY)
    backward = all_reduce.BACKWARD_SHARE * s.compute * s.step_seconds

    def exposed(mib: int) -> float:
        sizes = all_reduce.buckets(round((s.gradient_bytes or 0) / sent), mib * MIB)
        return all_reduce.exchange(sizes, s.ranks, link, backward, sent).exposed

    present = s.setting("bucket_mib", 25)
    now, measured = exposed(present), s.least_exchange * s.step_seconds * s.setting("accumulation_steps", 1)
    best = min((mib for mib in _BUCKETS if mib < present), key=exposed, default=present)
    if not 0.5 <= now / measured <= 2.0 or exposed(best) > (1 - LEAST_HIDDEN) * now:
        return None
    return best, 1 - exposed(best) / now


def _usual_link(s: Signals) -> link_bandwidth.Bandwidth:
    """What the slowest link should carry."""
    several = bool(s.setting("hosts", ""))
    setting = s.setting("network_bandwidth" if several else "gpu_bandwidth", link_bandwidth.AUTO)
    return link_bandwidth.parse(setting, "10GbE" if several else link_bandwidth.of_gpu(s.device_name))


def _link(s: Signals) -> str:
    """What the links carry, where that is far below what they should; empty where it is not, or not known."""
    reached = s.link_rate
    if reached is None or not s.on_gpu:
        return ""
    several, usual = bool(s.setting("hosts", "")), _usual_link(s)
    if reached >= SLOW_LINK * usual.bytes_per_second:
        return ""
    where = (
        "the network: NCCL_SOCKET_IFNAME, and its speed" if several else "nvidia-smi topo -m, NVLink and peer access"
    )
    return (
        f" The links carry at most {reached / 1e9:.2g} GB/s; {usual.name} should carry "
        f"{usual.bytes_per_second / 1e9:.3g}. Check {where}."
    )


def copy(s: Signals) -> Fix:
    """Copies that overlap with computing."""
    changes = {name: True for name in ("pin_memory", "non_blocking") if not s.setting(name, True)}
    if changes:
        words = " ".join(f"{name}=true" for name in changes)
        return Fix(f"Use pinned memory and asynchronous copies, which overlap with computing: {words}.", changes)
    return Fix("Copies are pinned and asynchronous already. Check the PCIe generation and width of the GPU's slot.")


def less_launching(s: Signals) -> Fix:
    """More work in each kernel, or fewer launches."""
    short = "The kernels are too short: the host cannot launch them fast enough."
    compiled = s.setting("compile", False)
    if _has_room(s):
        batch = 2 * s.setting("batch_size", 1)
        return Fix(
            f"{short} Use larger batches (batch_size={batch})" + ("." if compiled else " and compile=true."),
            {"batch_size": batch} if compiled else {"batch_size": batch, "compile": True},
        )
    if compiled and is_keras(s.settings):
        return Fix(f"{short} Use larger batches.")
    return Fix(
        f"{short} Use larger batches or " + ("compile_mode=reduce-overhead." if compiled else "compile=true."),
        {"compile_mode": "reduce-overhead"} if compiled else {"compile": True},
    )


def host(s: Signals) -> Fix:
    """Less host work per step."""
    compiled = s.setting("compile", False)
    return Fix(
        "Python code, logging or a synchronizing call in each step (.item(), printing a loss) delays the launches. "
        "Call it every few steps only" + ("." if compiled else ", or compile the model: compile=true."),
        {} if compiled else {"compile": True},
    )


def inefficient(s: Signals) -> Fix:
    """Larger batches and fused kernels."""
    changes: dict[str, Any] = {"batch_size": 2 * s.setting("batch_size", 1)} if _has_room(s) else {}
    changes |= {name: True for name in ("channels_last", "compile") if not s.setting(name, False)}
    return Fix(
        "The kernels use only part of the GPU's multiprocessors. Larger batches, channels_last and fused kernels "
        "(compile) fill more of them.",
        changes,
    )


def precision(s: Signals) -> Fix:
    """Number formats that tensor cores compute in."""
    formats = "bf16 or TF32" if (s.capability or 0.0) >= _BF16_FROM else "fp16"
    return Fix(f"Use the tensor cores with {formats}: precision=auto.", {"precision": "auto"})


def cooling(s: Signals) -> Fix:
    """Hardware checks; no setting helps."""
    return Fix(
        "Check the cooling, the power limit and the power supply. nvidia-smi -q -d PERFORMANCE shows the reasons."
    )


def neighbour(s: Signals) -> Fix:
    """Separate GPUs; no setting helps."""
    return Fix("Move the other programs, or this run, to another GPU.")


def contention(s: Signals) -> Fix:
    """Cores back from other programs; no setting helps."""
    return Fix(
        "Move, stop or renice the other programs. Training runs on the CPU, so each core they use is lost to it."
    )


def compute_bound(s: Signals) -> Fix:
    """No action, or a faster precision."""
    tensor = s.on_gpu and s.precision == "fp32" and (s.capability or 0.0) >= _FP16_FROM
    offer = " precision=bf16 or fp16 may make the steps shorter." if tensor else ""
    return Fix(f"No action needed: the data keeps up, and more workers would gain nothing.{offer}")


def cpu_bound(s: Signals) -> Fix:
    """No action."""
    return Fix("No action needed. A smaller model, smaller images, more cores or a GPU would train faster.")
