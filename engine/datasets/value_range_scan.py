"""Finds `value_range: auto`: looks at a sample of a folder's images, and chooses one range for the whole set.

The sample depends on the folder alone: plan, training and prediction find the same range. Headers tell which images are
deep; only these are decoded. The range is that of almost all training images: a hot pixel does not widen it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gputrain.engine.common import files
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings, value_range
from gputrain.engine.configuration.sections.data_settings import SHARDED, UNCACHED
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.value_range import ValueRange
from gputrain.engine.datasets import value_extremes
from gputrain.engine.datasets.value_extremes import USUAL, Extremes

SAMPLE = 128
"""Training images of which headers are read, and values if they are deep."""
VAL_SAMPLE = 32
"""Validation images of which they are read."""
_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
"""Bit depths of cameras, scanners and detectors; the smallest one that holds all sampled values is the set's."""
NARROW = 1 / 8
"""Images that use a smaller share of the range are reported."""


class RangeScan(NamedTuple):
    """Result of a scan."""

    images: int
    """Images in the sample."""
    deep: int
    """Grey images above 8 bits among them."""
    lowest: float
    highest: float
    """Extremes of the deep images' values; 0 without any."""
    value_range: ValueRange | None
    """The range for the set; None without deep images."""
    full: ValueRange | None = None
    """The full range of the deep images' types."""
    mixed: bool = False
    """Whether integers and floating-point values were found."""
    colour_levels: int | None = None
    """Levels of 256 that 16-bit colour images use in 8 bits; None without such images."""
    training: tuple[Extremes, ...] = ()
    """Values of the deep training images."""
    validation: tuple[Extremes, ...] = ()
    """Values of the deep validation images."""

    def note(self) -> str:
        """What was found, for the plan."""
        return (
            f"auto: {self.deep} of {self.images} sampled images are grey with more than 8 bits, "
            f"their values {self.lowest:g} to {self.highest:g}"
        )

    def warnings(self, value_range: ValueRange | None) -> tuple[str, ...]:
        """What is doubtful about `value_range` (None: the full range of each file's type) for these images."""
        found = []
        if self.colour_levels is not None and self.colour_levels < NARROW * 256:
            found.append(
                f"the images have 16 bits per colour, of which the upper 8 are used, and these have "
                f"{self.colour_levels} of 256 levels: details are lost; write values up to 65535, or 8 bits"
            )
        if not self.deep or self.full is None:
            return tuple(found)
        found += self._narrow(value_range or self.full)
        if value_range is not None:
            found += self._outside(value_range)
        if self.mixed:
            found.append(
                "value_range: the images mix integers and floating-point values, which one range does not suit; "
                "convert them to one type"
            )
        return tuple(found)

    def _narrow(self, chosen: ValueRange) -> list[str]:
        """A warning if the training images use a small share of `chosen`."""
        least = NARROW * (chosen.high - chosen.low)
        inside = [one for one in self.training if chosen.low <= one.low and one.high <= chosen.high] or self.training
        of_all = min(one.low for one in inside), max(one.high for one in inside)
        usual = min(one.usual_low for one in inside), max(one.usual_high for one in inside)
        for (low, high), whose, gain in (
            (of_all, "the images' values, {}, use", "uses all"),
            (usual, f"{USUAL:g} % of the pixels have values from {{}},", "keeps them and clips the others"),
        ):
            if high - low < least:
                tight = ValueRange(low, max(high, low + 1e-6))
                share = f"{whose.format(f'{low:g} to {high:g}')} less than an eighth of {chosen}"
                return [f"value_range: {share}: details are lost in 8 bits; value_range={tight} {gain}"]
        return []

    def _outside(self, chosen: ValueRange) -> list[str]:
        """Warnings of images that `chosen` clips although it holds almost all training images."""
        found = []
        outside = [one for one in self.training if one.low < chosen.low or one.high > chosen.high]
        # A narrower range of the user clips on purpose.
        if outside and chosen == self.value_range:
            worst = max(outside, key=lambda one: max(one.high - chosen.high, chosen.low - one.low))
            value = worst.high if worst.high - chosen.high >= chosen.low - worst.low else worst.low
            found.append(
                f"value_range: {len(outside)} of {self.deep} sampled images have values outside {chosen}, the range of "
                f"almost all, and are clipped: {plain(worst.path, 300)} has {value:g}; repair or remove such files, or "
                f"set value_range={ValueRange(min(self.lowest, chosen.low), max(self.highest, chosen.high))}"
            )
        few = len(self.training) // _FEW_IMAGES
        above = max((one.usual_high for one in self.validation), default=chosen.high)
        below = min((one.usual_low for one in self.validation), default=chosen.low)
        remedy = "use images of one kind for both splits, or set value_range"
        if above > chosen.high and sum(one.usual_high > chosen.high for one in self.training) <= few:
            text = f"values up to {above:g}, above value_range {chosen}: they would be clipped to white"
            found.append(f"validation images have {text}; {remedy}")
        if below < chosen.low and sum(one.usual_low < chosen.low for one in self.training) <= few:
            text = f"values down to {below:g}, below value_range {chosen}: they would be clipped to black"
            found.append(f"validation images have {text}; {remedy}")
        return found


def of_settings(values: Mapping[str, Any]) -> RangeScan | None:
    """The scan of the images of the flat settings; None for shards, data without image files, or no training images."""
    if values["dataset"] in UNCACHED or values["dataset"] in SHARDED or not values["data_dir"]:
        return None
    try:
        return scan(files.expand_user(values["data_dir"]), values["train_split"], values["val_split"])
    except OSError:
        return None


def scan(folder: Path, train_split: str, val_split: str) -> RangeScan:
    """Look at a sample of the images of both splits. Images that cannot be read are left out.

    `val_split` may be empty or missing. Raises OSError for the training folder.
    """
    images, found = _read(folder / train_split, SAMPLE)
    colours = [one for one in found if one.kind == "colour"]
    levels = int(max(one.high for one in colours) - min(one.low for one in colours)) + 1 if colours else None
    deep = tuple(one for one in found if one.kind != "colour")
    if not deep:
        return RangeScan(images, 0, 0.0, 0.0, None, colour_levels=levels)
    low, high = min(one.low for one in deep), max(one.high for one in deep)
    kinds = {one.kind for one in deep}
    full = ValueRange(min(one.full.low for one in deep), max(one.full.high for one in deep))
    val: list[Extremes] = []
    with contextlib.suppress(OSError):  # the run's scan names a missing folder
        val = _read(folder / val_split, VAL_SAMPLE)[1] if val_split else []
    return RangeScan(
        images, len(deep), low, high, _of_most(deep), full, len(kinds) > 1, levels, deep,
        tuple(one for one in val if one.kind != "colour"),
    )  # fmt: skip


def _read(folder: Path, count: int) -> tuple[int, list[Extremes]]:
    """The number of sampled images under `folder`, and values of those with more than 8 bits. Raises OSError."""
    return _known(value_extremes.sample(folder, count))


def _known(paths: Sequence[str]) -> tuple[int, list[Extremes]]:
    """The number of readable files, and values of those with more than 8 bits."""
    images, found = 0, []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
            extremes = value_extremes.of_file(path, status.st_size, status.st_mtime_ns)
        except OSError:
            continue
        images += 1
        if extremes is not None:
            found.append(extremes)
    return images, found


_FEW_IMAGES, _FEW_HOT = 10, 4
"""At most one image in 10 may lie outside the range, and one in 4 with its hot pixels."""


def _of_most(deep: Sequence[Extremes]) -> ValueRange:
    """The range of almost all images, if those outside would widen it much; otherwise the range of all."""
    integers = any(one.kind == "integer" for one in deep)
    hot = len(deep) // _FEW_HOT

    def without(few: int, hot: int) -> ValueRange:
        low = min(sorted(one.usual_low for one in deep)[few], sorted(one.low for one in deep)[hot])
        high = max(sorted(one.usual_high for one in deep)[-1 - few], sorted(one.high for one in deep)[-1 - hot])
        return choose(low, high, integers=integers)

    everything = without(0, 0)
    width = everything.high - everything.low
    # Two bits are worth more than hot pixels; whole images are left out only where the others would lose three.
    for few, share in ((0, 1 / 4), (len(deep) // _FEW_IMAGES, NARROW)):
        chosen = without(few, hot)
        if chosen.high - chosen.low <= share * width:
            return chosen
    return everything


def choose(low: float, high: float, *, integers: bool) -> ValueRange:
    """The range for values from `low` to `high`.

    Integers: from 0 (or the negative power of two that holds `low`) to the largest value of the smallest bit depth that
    holds `high`. Floating point: 0…1, extended to values outside.
    """
    if not integers:
        return ValueRange(min(0.0, low), max(1.0, high))
    top = next((2**bits - 1 for bits in _DEPTHS if high <= 2**bits - 1), high)
    bottom = 0 if low >= 0 else -(2 ** int(-low - 1).bit_length()) if low < -1 else -1
    return ValueRange(bottom, top)


def range_of(config: RunConfig) -> tuple[ValueRange | None, tuple[str, ...]]:
    """The value range under the settings, and warnings; for ``auto`` the images of both splits are sampled.

    For shards, and without readable training images, ``auto`` is the full range of each file's type.
    """
    data = config.data
    if data.value_range != value_range.AUTO:
        return value_range.parse(data.value_range), ()
    if data.dataset in SHARDED:
        return None, ()
    try:
        found = scan(files.expand_user(data.data_dir), data.train_split, data.val_split)
    except OSError:
        return None, ()
    return found.value_range, found.warnings(found.value_range)


def range_for(config: RunConfig, images: Path) -> tuple[ValueRange | None, tuple[str, ...]]:
    """The value range of a run for images that it predicts, and warnings of images that do not fit it.

    `images` is a folder or a file. The range is that of the run's training images: validation images are not looked at.
    """
    chosen, _ = range_of(settings.replace(config, val_split=""))
    paths = value_extremes.sample(images, VAL_SAMPLE) if images.is_dir() else [str(images)]
    deep = [one for one in _known(paths)[1] if one.kind != "colour"]
    if not deep:
        return chosen, ()
    low, high = min(one.usual_low for one in deep), max(one.usual_high for one in deep)
    remedy = "predict images like those of the training, or set value_range"
    if chosen is None and config.data.value_range == value_range.AUTO:
        full = ValueRange(min(one.full.low for one in deep), max(one.full.high for one in deep))
        text = (
            f"{len(deep)} of {len(paths)} sampled images are grey with more than 8 bits, and the training images were "
            f"not: their values, {low:g} to {high:g}, are shown in the range of their type, {full}; {remedy}"
        )
        return None, (text,)
    found = []
    if chosen is not None and high > chosen.high:
        text = f"values up to {high:g}, above the run's value_range {chosen}: they are clipped to white"
        found.append(f"images have {text}; {remedy}")
    if chosen is not None and low < chosen.low:
        text = f"values down to {low:g}, below the run's value_range {chosen}: they are clipped to black"
        found.append(f"images have {text}; {remedy}")
    return chosen, tuple(found)
