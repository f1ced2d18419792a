"""A calibration: measured rates of a recipe on a machine, and the settings for which it is valid. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from gputrain.engine.configuration import engine_choice, settings

VERSION = 2
_MAY_DIFFER = frozenset(
    {
        *("batch_size", "val_batch_size", "num_workers", "prefetch_factor", "persistent_workers", "pin_memory"),
        *("cache", "cache_form", "cache_gib"),
        *(
            "non_blocking",
            "max_bad_images",
            "weights",
            "weights_strict",
            "mean",
            "std",
            "interpolation",
            "crop_mode",
            "fused_optimizer",
            "set_to_none",
            "oom_fallback",
        ),
        *(
            "val_split",
            "clip_grad_norm",
            "ema_decay",
            "nonfinite_loss",
            "label_smoothing",
            "color_jitter",
            "hue_jitter",
            "random_erasing",
            "crop_min_scale",
        ),
    }
)
"""Settings that may differ from the calibration's: the forecast accounts for them, or they hardly cost time."""
_SECTIONS = ("data", "model", "speed")


class StepCost(Struct, frozen=True):
    """One training step, measured alone with its batch ready."""

    batch_size: int
    seconds: float
    cpu_seconds: float
    """CPU time over all cores; on a GPU the time for launching kernels."""
    peak_bytes: int | None
    """Peak memory: the GPU's, or on the CPU the process's; None: not reported."""


class CachedCost(Struct, frozen=True):
    """The cost of preparing images that are cached in a form, or (``none``) read from their files."""

    form: str
    """``none``, ``raw`` or ``jpeg``."""
    per_core: float
    """Images per second of CPU time that one core decodes and augments, with the files in memory."""
    bytes_per_image: float


class Calibration(Struct, frozen=True, kw_only=True):
    """Measurements of one recipe on one machine. Rates are images per second."""

    recipe: str
    machine: str
    """`machine_key` of where it was measured."""
    made: float
    """Seconds since 1970."""
    settings: dict[str, Any]
    """The settings for which it is valid (`signature`)."""
    device: str
    device_name: str
    usable_cores: float
    batch_size: int
    num_workers: int
    prefetch_factor: int
    train_images: int
    val_images: int
    file_bytes: int
    """Bytes of all training images, extrapolated from the mean of those read."""
    supply: float
    """Rate of the workers alone."""
    decode_per_core: float | None
    """Images per second of CPU time that one core decodes and augments; None: the kernel does not report it."""
    disk_rate: float | None
    """Bytes per second when files are read; None: not measured."""
    steps: tuple[StepCost, ...]
    """At one or two batch sizes, the smaller first."""
    together: float
    """Rate of workers and steps together, as in a run."""
    spread: float
    """Uncertainty of `together`: twice the standard error of its windows."""
    validation: float | None
    """Images per second while validating; None without validation images."""
    seconds: float
    """Duration of the measurement."""
    cached: tuple[CachedCost, ...] = ()
    """Empty for data that aren't image files."""
    others: float | None = None
    """Cores that other programs used during the measurement; None: unknown."""
    version: int = VERSION


def signature(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among `values` (by name) that a calibration depends on."""
    table = settings.table()
    names = [n for n, s in table.items() if (s.section in _SECTIONS or n == "optimizer") and n not in _MAY_DIFFER]
    # Left out for torch, so that older calibrations, which have no engine, stay valid.
    other = {"engine": values["engine"]} if engine_choice.is_keras(values) else {}
    return {name: values[name] for name in names} | other


def difference(calibration: Calibration, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings in which `values` differ from the calibration, as name → (calibrated, present)."""
    table = settings.table()
    present = {"engine": values["engine"], **signature(values)}
    # An older version did not know all settings: it measured with what is their default now.
    measured = {name: table[name].default for name in present} | calibration.settings
    names = [name for name in measured if name in present or name not in table]
    pairs = {name: (measured[name], present.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def choose(calibrations: Sequence[Calibration], values: Mapping[str, Any]) -> Calibration | None:
    """The newest of `calibrations` that is valid for `values`; None without one."""
    fitting = [one for one in calibrations if not difference(one, values)]
    return max(fitting, key=lambda one: one.made, default=None)
