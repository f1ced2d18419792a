"""Reader of clips: folders of frames, in one or two qualities: ``train/fake/<clip>/{high,low}/0001.jpg``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets import folder_layouts, group_split
from gputrain.engine.datasets.folder_layouts import STREAMS, shown
from gputrain.engine.datasets.image_set import ImageSet, image_set
from gputrain.engine.datasets.skipped_files import NOTHING_SKIPPED, Skipped, SkippedFiles
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.clip_classification import ClipClassification


@dataclass(frozen=True, slots=True)
class _Clip:
    """The frames of one clip, by stream."""

    name: str
    label: int
    face: str
    """Clips of one face are never on both sides of a split."""
    streams: tuple[tuple[str, ...], ...]
    """Paths of the frames relative to the split's folder, in order."""


@dataclass(frozen=True, slots=True)
class _Clips:
    """The clips of a split."""

    folder: Path
    classes: tuple[str, ...]
    streams: int
    clips: list[_Clip]
    skipped: Skipped


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. ``data_dir/<split>`` has two class folders, each with a folder for each clip.

    A clip folder contains frames, or ``high`` and ``low`` with the frames of each quality; all clips the same.
    ``clip_frames`` evenly spaced frames are one sample. Without a `val_split`, `val_share` of the faces is held out.
    """
    data = config.data
    train = _read_split(config, data.train_split, "train_split", on_found)
    if data.val_split:
        val = _read_split(config, data.val_split, "val_split", on_found)
        if val.classes != train.classes or val.streams != train.streams:
            raise BadInput(
                f"val_split: has {_describe(val.classes, val.streams)}, "
                f"where the training clips have {_describe(train.classes, train.streams)}"
            )
    else:
        train, val = _held_out(train, data.val_share)
    return OpenedDataset(
        _images(train, data.clip_frames),
        _images(val, data.clip_frames) if val.clips else None,
        ClipClassification(train.streams, data.clip_frames, config.optim.label_smoothing),
        warnings=(*_unused_groups(config, train, val), *_shared_faces(train, val), *_crossing(train, val)),
    )


def _shared_faces(train: _Clips, val: _Clips) -> tuple[str, ...]:
    """A warning if faces are on both sides.

    Faces that only their clips' whole names tell do not count: 001 in both splits need not be the same one.
    """
    known = {clip.face for clip in (*train.clips, *val.clips) if clip.face != clip.name.rpartition("/")[2]}
    return group_split.shared_groups(
        (clip.face for clip in train.clips if clip.face in known), (clip.face for clip in val.clips)
    )


def _crossing(train: _Clips, val: _Clips) -> tuple[str, ...]:
    """A warning if swapped clips show faces of both sides."""
    return group_split.crossing_clips(*([(clip.name, clip.face) for clip in side.clips] for side in (train, val)))


def _unused_groups(config: RunConfig, train: _Clips, val: _Clips) -> tuple[str, ...]:
    """A warning if groups.csv lists clips that there are not."""
    names = {clip.name for clip in (*train.clips, *val.clips)}
    groups = group_split.read_groups(config.data.data_dir)
    without_class = {name.rpartition("/")[2] for name in names} & groups.keys()
    return group_split.unused_names(groups, names | without_class, "a clip with or without its class")


def _held_out(found: _Clips, share: float) -> tuple[_Clips, _Clips]:
    """Training and validation clips: a share of the faces is held out."""
    kept = group_split.clips_held_out([(clip.label, clip.face) for clip in found.clips], share) if share else set()
    train = [clip for clip in found.clips if clip.face not in kept]
    return dataclasses.replace(found, clips=train), dataclasses.replace(
        found, clips=[clip for clip in found.clips if clip.face in kept], skipped=NOTHING_SKIPPED
    )


def _describe(classes: tuple[str, ...], streams: int) -> str:
    return f"the classes {plain(', '.join(classes), 100)} in {streams} {'streams' if streams > 1 else 'stream'}"


def _read_split(config: RunConfig, split: str, setting: str, on_found: OnFound) -> _Clips:
    """The clips of a split. Raises BadInput."""
    folder = folder_layouts.split_folder(config.data.data_dir, split, setting)
    classes = folder_layouts.clip_classes(folder, setting)
    groups = group_split.read_groups(config.data.data_dir)
    names = {name: folder_layouts.clips_of(folder / name, setting) for name in classes}
    swapped = group_split.swapped_faces({clip for found in names.values() for clip in found})
    skipped = SkippedFiles(files.expand_user(config.data.data_dir))
    clips: list[_Clip] = []
    for label, name in enumerate(classes):
        for clip_name in names[name]:
            start = group_split.clip_face(clip_name)
            face = groups.get(f"{name}/{clip_name}", groups.get(clip_name, swapped.get(start, start)))
            clip = _clip(folder, f"{name}/{clip_name}", label, face, skipped)
            _check_alike(setting, folder, clip, clips[0] if clips else clip)
            clips.append(clip)
        on_found(sum(len(clip.streams) for clip in clips) * config.data.clip_frames)
    return _Clips(folder, classes, len(clips[0].streams), clips, skipped.result())


def _images(found: _Clips, clip_frames: int) -> ImageSet:
    """The chosen frames of the clips as images."""
    names: list[str] = []
    labels: list[int] = []
    for clip in found.clips:
        chosen = [frame for stream in clip.streams for frame in _spaced(stream, clip_frames)]
        names += chosen
        labels += [clip.label] * len(chosen)
    images = image_set(found.folder, names, labels, found.classes)
    return dataclasses.replace(images, group=found.streams * clip_frames, scan_result=found.skipped)


def _clip(folder: Path, name: str, label: int, face: str, skipped: SkippedFiles) -> _Clip:
    streams = folder_layouts.clip_streams(folder / name)
    frames = tuple(_frames(folder, os.path.relpath(stream, folder), skipped) for stream in streams)
    return _Clip(name, label, face, frames)


def _frames(folder: Path, name: str, skipped: SkippedFiles) -> tuple[str, ...]:
    """Paths of the frames in a folder, in order; counts other files in `skipped`."""
    home = os.fspath(folder / name)
    with folder_layouts.scandir(home) as entries:
        files = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    found = folder_layouts.images_in(home, files)
    for other in sorted(set(files).difference(found)):
        skipped.add_file(f"{home}/{other}")
    return tuple(f"{name}/{file}" for file in found)


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
