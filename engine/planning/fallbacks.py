"""Fallbacks for what this machine cannot do: rules that change, warn about or refuse settings of a draft. Pure.

A value from a file is changed with a note. A value from the user is changed only if it could not run at all, and
always with a warning. Every message names its setting.
"""

from __future__ import annotations

from collections.abc import Callable

from gputrain.engine.configuration import engine_choice, keras_compatibility, progressive_resizing
from gputrain.engine.configuration.dataset_compatibility import unsuitable_settings
from gputrain.engine.configuration.sections.data_settings import SHARDED, UNCACHED
from gputrain.engine.estimates.worker_count import WORKER_SHARE, worker_limit
from gputrain.engine.hardware.machine import GpuInfo, Machine, unusable_gpu
from gputrain.engine.hardware.torch_compatibility import machine_problem
from gputrain.engine.planning import device_rules
from gputrain.engine.planning.plan_draft import PlanDraft

IMAGE_TO_RESIZE = 256 / 224
"""val_resize over image_size, as in the standard evaluation of ImageNet models."""
_BF16_FROM, _FP16_FROM, _TF32_FROM = (8, 0), (7, 0), (8, 0)
"""Compute capabilities from which tensor cores compute in these formats (CUDA C++ Programming Guide, arithmetic)."""

_TRITON_FROM = (7, 0)
"""Compute capability that torch.compile needs (the device check of torch._inductor)."""


def halves_precision(gpu: GpuInfo) -> bool:
    """Whether plans use half precision on `gpu`; True where the driver does not report the compute capability.

    Without it a batch takes twice the memory.
    """
    return gpu.capability is None or gpu.capability >= _FP16_FROM


def pick_gpu(machine: Machine, device: str, engine: str = "torch") -> GpuInfo | None:
    """The GPU that a run would use: the first one; None with device=cpu or where torch cannot use it."""
    # Whether TensorFlow can use it is known only after its import.
    usable = machine.gpus and device != "cpu" and (engine != "torch" or machine_problem(machine) is None)
    return machine.gpus[0] if usable else None


def apply_fallbacks(draft: PlanDraft) -> None:
    """Apply all rules."""
    for rule in _RULES:
        rule(draft)


def _engine(draft: PlanDraft) -> None:
    if not engine_choice.is_keras(draft.values):
        return
    for name, (value, why) in keras_compatibility.REPLACED.items():
        if draft.values[name] != value:
            draft.change(name, value, why)
    draft.refusals.extend(keras_compatibility.refusals(draft.values))
    if draft.gpu is not None:
        needs = f"a GPU needs TensorFlow's CUDA libraries: {engine_choice.INSTALL_CUDA}"
        draft.notes["engine"] = f"{needs}; the run checks at its start whether TensorFlow can use the GPU"


def _device(draft: PlanDraft) -> None:
    asked = draft.values["device"]
    missing = why_no_gpu(draft.machine)
    if draft.gpu is not None:
        count = len(draft.machine.gpus)
        draft.notes["device"] = draft.gpu.name + (f", one of {count} GPUs" if count > 1 else "")
    elif asked == "cuda":
        draft.refusals.append(f"device: cuda needs a GPU, but none is usable ({missing}); device=cpu trains on the CPU")
    elif asked == "auto":
        draft.notes["device"] = f"auto: the CPU ({missing})"
        draft.warnings.append(f"device: training on the CPU, because no GPU is usable ({missing})")
    else:
        draft.notes["device"] = draft.machine.cpu_model
        if (trouble := unusable_gpu(draft.machine)) and not (draft.is_own("device") or draft.is_own("profile")):
            reason = f"because the GPU cannot be used ({trouble}); set device=cpu to silence this warning"
            draft.warnings.append(f"device: training on the CPU, {reason}")


def why_no_gpu(machine: Machine) -> str:
    """Why no GPU is usable here, with the remedy."""
    fault = machine_problem(machine)
    if fault is None:
        return machine.gpu_error or "no NVIDIA GPU"
    return f"{fault.reason}; {fault.remedy}" + (f": {fault.command}" if fault.command else "")


def _precision(draft: PlanDraft) -> None:
    asked, gpu = draft.values["precision"], draft.gpu
    if gpu is None:
        if asked == "fp16":
            draft.change("precision", "bf16", "fp16 needs a GPU: bf16 used")
        elif asked == "auto" and draft.values["device"] == "cpu":
            native = draft.machine.cpu_bf16
            draft.values["precision"] = "bf16" if native else "fp32"
            draft.notes["precision"] = f"auto: {'bf16' if native else 'fp32, because bf16 is emulated'} on this CPU"
        elif asked == "auto":
            draft.notes["precision"] = "auto: bf16 if the CPU supports it natively, else fp32"
        return
    if gpu.capability is None:
        draft.notes["precision"] = "compute capability unknown: the run decides at its start"
        return
    here = "{}.{}".format(*gpu.capability)
    best = "bf16" if gpu.capability >= _BF16_FROM else "fp16" if gpu.capability >= _FP16_FROM else "fp32"
    if asked == "auto":
        draft.values["precision"] = best
        draft.notes["precision"] = f"auto: {best} on compute capability {here}"
    elif asked == "bf16" and gpu.capability < _BF16_FROM:
        draft.change("precision", best, f"bf16 needs compute capability 8.0, this GPU has {here}: {best} used")
    elif asked == "fp16" and gpu.capability < _FP16_FROM:
        slow = f"fp16 is fast only from compute capability 7.0, this GPU has {here}"
        if draft.is_own("precision"):
            draft.warnings.append(f"precision: {slow}; it saves memory, not time")
        else:
            draft.change("precision", "fp32", f"{slow}: fp32 used")


def _tf32(draft: PlanDraft) -> None:
    if not draft.values["tf32"]:
        return
    if draft.gpu is None:
        draft.change("tf32", False, "tf32 needs a GPU: off")
    elif draft.gpu.capability is not None and draft.gpu.capability < _TF32_FROM:
        here = "{}.{}".format(*draft.gpu.capability)
        draft.change("tf32", False, f"tf32 needs compute capability 8.0, this GPU has {here}: off")


def _compile(draft: PlanDraft) -> None:
    gpu = draft.gpu
    if engine_choice.is_keras(draft.values):
        return  # XLA has no such bound
    if draft.values["compile"] and gpu is not None and gpu.capability is not None and gpu.capability < _TRITON_FROM:
        here = "{}.{}".format(*gpu.capability)
        draft.change("compile", False, f"torch.compile needs compute capability 7.0, this GPU has {here}: off")


def _gpu_only(draft: PlanDraft) -> None:
    if draft.gpu is not None:
        return
    reasons = {
        "pin_memory": "pinned memory is for copies to a GPU: off",
        "non_blocking": "no copies to a GPU: off",
        "cudnn_benchmark": "cuDNN needs a GPU: off",
    }
    for name, why in reasons.items():
        if draft.values[name]:
            draft.change(name, False, why)
    if draft.values["compile"]:
        draft.warnings.append("compile: takes up to a minute on a CPU and rarely gains; compile=false starts at once")


def _workers(draft: PlanDraft) -> None:
    workers, ranks = draft.values["num_workers"], draft.values["devices"]
    layer = draft.layers.get("num_workers")
    share = layer.worker_share if layer else WORKER_SHARE
    limit = max(1, worker_limit(draft.machine.usable_cores, share) // ranks)
    if workers <= limit:
        return
    cores = f"{share:.0%} of {draft.machine.usable_cores:g} usable cores"
    if ranks > 1:
        cores += f" for {ranks} ranks"
    if layer and layer.own:
        draft.warnings.append(f"num_workers: {workers} is more than {cores}; {limit} leave cores for the trainer")
    else:
        draft.change("num_workers", limit, f"{workers} → {limit}: {cores}")


def _val_resize(draft: PlanDraft) -> None:
    side, resize = draft.values["image_size"], draft.values["val_resize"]
    fitting = round(side * IMAGE_TO_RESIZE)
    if "val_resize" not in draft.layers and "image_size" in draft.layers and resize != fitting:
        draft.change("val_resize", fitting, f"256/224 of image_size {side}")
    elif resize < side:
        draft.refusals.append(f"val_resize: {resize} is smaller than the crop of image_size {side}; at least {side}")


def _cache_resolution(draft: PlanDraft) -> None:
    asked, least = draft.values["cache_resolution"], max(draft.values["val_resize"], draft.values["image_size"])
    if 0 < asked < least:
        draft.change("cache_resolution", least, f"{asked} → {least}: the model needs images of {least} pixels")


def _without_effect(draft: PlanDraft) -> None:
    """Settings without effect on the data set."""
    values = draft.values
    if values["cache"] != "none" and values["dataset"] in UNCACHED:
        draft.change("cache", "none", f"{values['cache']} has no effect: {UNCACHED[values['dataset']]}")
    if values["shuffle"] == "shards" and values["dataset"] not in SHARDED:
        draft.change("shuffle", "global", f"shards has no effect: dataset={values['dataset']} has none")
    if values["shuffle"] == "shards" and values["dataset"] == "imagenet":
        draft.change("shuffle", "global", "the images of ImageNet's tars are sorted by class")
    if values["loader"] == "threads" and values["dataset"] == "custom":
        why = "a custom data set is read by torch's DataLoader, whose workers are processes"
        draft.change("loader", "auto", f"threads has no effect: {why}")


def _loader(draft: PlanDraft) -> None:
    """Worker threads compete with the trainer for the GIL and delay its kernel launches, so a GPU gets processes.

    Measured in docs/benchmarks.md, "From files to trained epochs"; on a CPU the step hardly holds the GIL.
    """
    values = draft.values
    own = values["dataset"] == "custom" or engine_choice.is_keras(values)
    if draft.gpu is not None and values["loader"] == "auto" and values["num_workers"] and not own:
        values["loader"] = "processes"
        draft.notes["loader"] = "auto: worker threads would delay kernel launches"


def _progressive(draft: PlanDraft) -> None:
    start, size = draft.values["progressive_start"], draft.values["image_size"]
    if not start:
        return
    if start >= size:
        draft.refusals.append(
            f"progressive_start: {start} is not smaller than image_size ({size}); 0 trains at one size"
        )
        return
    if draft.values["dataset"] == "custom":
        draft.refusals.append(f"progressive_start: {progressive_resizing.OWN}")
        return
    found = progressive_resizing.image_size_schedule(draft.values)
    draft.notes["progressive_start"] = progressive_resizing.sentence(found, draft.values["epochs"])
    if draft.values["progressive_epochs"] > draft.values["epochs"]:
        draft.warnings.append(
            f"progressive_epochs: the run ends at {found.at(draft.values['epochs'] - 1)} pixels, below image_size "
            f"({size}), which validation uses; progressive_epochs={draft.values['epochs']} or less reaches it"
        )
    if draft.values["compile"]:
        draft.warnings.append(f"compile: the model is compiled again for each of the {len(found.stages())} image sizes")


def _data_dir(draft: PlanDraft) -> None:
    if draft.machine.assumed:
        return  # the data is on the other machine
    if draft.values["dataset"] not in ("demo", "custom") and not draft.values["data_dir"]:
        draft.refusals.append("data_dir: the folder with the images is missing; name it with --data DIR")


def _unsuited(draft: PlanDraft) -> None:
    draft.refusals.extend(unsuitable_settings(draft.values))


_RULES: tuple[Callable[[PlanDraft], None], ...] = (
    _engine,
    _device,
    device_rules.devices,
    device_rules.divided_batch,
    device_rules.sync_batchnorm,
    _precision,
    device_rules.sharded_weights,
    _tf32,
    _compile,
    _gpu_only,
    _workers,
    _val_resize,
    _cache_resolution,
    _without_effect,
    _loader,
    _progressive,
    _data_dir,
    _unsuited,
)
