"""What was measured on a machine for a recipe, and for which settings it holds. Pure."""

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
            "colour_jitter",
            "hue_jitter",
            "random_erasing",
            "crop_min_scale",
        ),
    }
)
"""Settings that a calibration holds for in any value: the forecast follows them, or they hardly cost time."""
_SECTIONS = ("data", "model", "speed")


class StepCost(Struct, frozen=True):
    """One training step, computed alone with its batch at hand."""

    batch_size: int
    seconds: float
    cpu_seconds: float
    """Time of all cores; on a GPU that of launching."""
    peak_bytes: int | None
    """Most memory that was in use: the GPU's, or on the CPU the process's own; None: the kernel does not tell."""


class CachedCost(Struct, frozen=True):
    """What images cost that lie prepared in a form, or (``none``) in their files."""

    form: str
    """``none``, ``raw`` or ``jpeg``."""
    per_core: float
    """Images that one core decodes and augments in a second of its own time, the files in memory."""
    bytes_per_image: float


class Calibration(Struct, frozen=True, kw_only=True):
    """Measurements of one recipe on one machine. Rates are images per second."""

    recipe: str
    machine: str
    """`machine_key` of where it was measured."""
    made: float
    """Seconds since 1970."""
    settings: dict[str, Any]
    """The settings that it holds for (`signature`)."""
    device: str
    device_name: str
    usable_cores: float
    batch_size: int
    num_workers: int
    prefetch_factor: int
    train_images: int
    val_images: int
    file_bytes: int
    """Bytes of all training images, from the mean of those that were read."""
    supply: float
    """What the workers alone deliver."""
    decode_per_core: float | None
    """What one core decodes and augments in a second of its own time; None: the kernel does not tell."""
    disk_rate: float | None
    """Bytes per second that files are read with; None: not measured."""
    steps: tuple[StepCost, ...]
    """At one or two batch sizes, the smaller first."""
    together: float
    """Workers and steps at once, as in a run."""
    spread: float
    """Uncertainty of `together`: twice the standard error of its windows."""
    validation: float | None
    """Images per second while validating; None without validation images."""
    seconds: float
    """How long measuring took."""
    cached: tuple[CachedCost, ...] = ()
    """Empty for data that aren't image files."""
    others: float | None = None
    """Cores that other programs kept busy meanwhile; None: not known."""
    version: int = VERSION


def signature(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among `values` (by name) that a calibration depends on."""
    table = settings.table()
    names = [n for n, s in table.items() if (s.section in _SECTIONS or n == "optimizer") and n not in _MAY_DIFFER]
    # Not for torch: what was calibrated before there was another engine holds on.
    other = {"engine": values["engine"]} if engine_choice.is_keras(values) else {}
    return {name: values[name] for name in names} | other


def difference(calibration: Calibration, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What `values` have otherwise than the calibration, as name → (calibrated, present)."""
    present = signature(values)
    names = {**calibration.settings, **present}
    pairs = {name: (calibration.settings.get(name), present.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def choose(calibrations: Sequence[Calibration], values: Mapping[str, Any]) -> Calibration | None:
    """The newest of `calibrations` that holds for `values`; None if none does."""
    fitting = [one for one in calibrations if not difference(one, values)]
    return max(fitting, key=lambda one: one.made, default=None)
