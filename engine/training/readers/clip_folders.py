"""Reader of clips: folders of frames, in one or two qualities: ``train/fake/<clip>/{high,low}/0001.jpg``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets import folder_layouts
from gputrain.engine.datasets.folder_layouts import STREAMS, shown
from gputrain.engine.datasets.image_set import ImageSet, image_set
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.clip_classification import ClipClassification


@dataclass(frozen=True, slots=True)
class _Clip:
    """The frames of one clip, by stream."""

    name: str
    streams: tuple[tuple[str, ...], ...]
    """Paths of the frames relative to the split's folder, in order."""


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. ``data_dir/<split>`` has two class folders, each with a folder for each clip.

    A clip folder contains frames, or ``high`` and ``low`` with the frames of each quality; all clips the same.
    ``clip_frames`` evenly spaced frames are one sample.
    """
    data = config.data
    train, classes, streams = _split(config, data.train_split, "train_split", on_found)
    val = None
    if data.val_split:
        val, val_classes, val_streams = _split(config, data.val_split, "val_split", on_found)
        if val_classes != classes or val_streams != streams:
            raise BadInput(
                f"val_split: has {_describe(val_classes, val_streams)}, "
                f"where the training clips have {_describe(classes, streams)}"
            )
    return OpenedDataset(train, val, ClipClassification(streams, data.clip_frames, config.optim.label_smoothing))


def _describe(classes: tuple[str, ...], streams: int) -> str:
    return f"the classes {plain(', '.join(classes), 100)} in {streams} {'streams' if streams > 1 else 'stream'}"


def _split(config: RunConfig, split: str, setting: str, on_found: OnFound) -> tuple[ImageSet, tuple[str, ...], int]:
    """The frames of a split's clips as images, its classes, and the number of streams."""
    folder = folder_layouts.split_folder(config.data.data_dir, split, setting)
    classes = folder_layouts.clip_classes(folder, setting)
    names: list[str] = []
    labels: list[int] = []
    first: _Clip | None = None
    for label, name in enumerate(classes):
        for clip in [_clip(folder, f"{name}/{clip}") for clip in folder_layouts.clips_of(folder / name, setting)]:
            first = first or clip
            _check_alike(setting, folder, clip, first)
            chosen = [frame for stream in clip.streams for frame in _spaced(stream, config.data.clip_frames)]
            names += chosen
            labels += [label] * len(chosen)
        on_found(len(names))
    assert first is not None
    streams = len(first.streams)
    found_images = image_set(folder, names, labels, classes)
    return dataclasses.replace(found_images, group=streams * config.data.clip_frames), classes, streams


def _clip(folder: Path, name: str) -> _Clip:
    streams = folder_layouts.clip_streams(folder / name)
    return _Clip(name, tuple(_frames(folder, os.path.relpath(stream, folder)) for stream in streams))


def _frames(folder: Path, name: str) -> tuple[str, ...]:
    with folder_layouts.scandir(os.fspath(folder / name)) as entries:
        return tuple(f"{name}/{file}" for file in folder_layouts.images_in(entry.name for entry in entries))


def _check_alike(setting: str, folder: Path, clip: _Clip, first: _Clip) -> None:
    if len(clip.streams) != len(first.streams):
        raise BadInput(
            f"{setting}: {shown(folder / clip.name)} has {len(clip.streams)} of the streams {', '.join(STREAMS)}, "
            f"{shown(folder / first.name)} has {len(first.streams)}; all clips must be alike"
        )
    for frames in clip.streams:
        if not frames:
            raise folder_layouts.no_frames(folder / clip.name, setting)


def _spaced(frames: tuple[str, ...], count: int) -> list[str]:
    """`count` frames, evenly spaced from the first to the last; some repeat if there are fewer."""
    places = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return [frames[place] for place in places.tolist()]
