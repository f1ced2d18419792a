"""Checks for plans that the data folder has the layout of its data set, without torch.

Looks for one image of each class, or one annotated picture. The run's scan reads everything and raises the same errors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.hugging_face_names import is_hub_name
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.configuration.sections.data_settings import REMOTE, SHARDED
from gputrain.engine.datasets import folder_layouts, image_files, label_files
from gputrain.engine.datasets.label_files import LabelledFiles

CHECK_SECONDS = 0.5
"""Time limit of the check; on a slower disk it ends without a result."""


class _TimeLimitReached(Exception):  # noqa: N818 - not an error: the time is up
    pass


def missing_data(values: Mapping[str, Any], seconds: float = CHECK_SECONDS) -> tuple[str, ...]:
    """Errors of the settings' data folder that are found in `seconds`; empty if there are none."""
    if is_url(values["data_dir"]) and values["dataset"] not in (*REMOTE, "custom"):
        return (f"data_dir: a URL is read for shards alone ({', '.join(f'dataset={name}' for name in REMOTE)})",)
    if is_hub_name(values["data_dir"]) and values["dataset"] not in ("hf", "custom"):
        return (f"data_dir: {values['data_dir']} is the name of a data set of Hugging Face: set dataset=hf",)
    check = _CHECKS.get(values["dataset"])
    if check is None or not values["data_dir"]:
        return ()
    try:
        check(values, time.monotonic() + seconds)
    except BadInput as error:
        return (str(error),)
    except _TimeLimitReached:
        return ()
    return ()


def _splits(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Setting and folder of each split that the run reads. Raises BadInput for a missing one."""
    for setting in ("train_split", "val_split"):
        if values[setting]:
            yield setting, folder_layouts.split_folder(values["data_dir"], values[setting], setting)


def _classes(values: Mapping[str, Any], deadline: float) -> None:
    known: list[str] | None = None
    for setting, folder in _splits(values):
        listed = label_files.labelled_files(values["data_dir"], values[setting], setting, known)
        if listed is not None:
            _check_first(listed, setting)
            known = known or list(listed.classes)
            continue
        found = folder_layouts.class_folders(folder, setting, known)
        if known is None and (index := label_files.indexed_classes(values["data_dir"], found)) is not None:
            known = list(index)
        for name in found:
            if not _any_file(folder / name, deadline, lambda home, files: bool(folder_layouts.images_in(home, files))):
                raise folder_layouts.no_images(folder / name, setting)
        known = known or found


def _check_first(listed: LabelledFiles, setting: str) -> None:
    path = listed.folder / listed.names[0]
    if not path.is_file():
        first = f"{setting}: {folder_layouts.shown(path)}, the first image in {label_files.LABELS}, does not exist"
        raise BadInput(f"{first}; its paths begin at the folder of that file")


def _cifar(values: Mapping[str, Any], deadline: float) -> None:
    folder = folder_layouts.cifar_folder(values["data_dir"])
    files = (*folder_layouts.CIFAR_TRAIN, *(folder_layouts.CIFAR_TEST if values["val_split"] else ()))
    for name in files:
        if not (folder / name).is_file():
            raise BadInput(f"{folder_layouts.shown(folder / name)} is missing; unpack the data set anew")


def _300wlp(values: Mapping[str, Any], deadline: float) -> None:
    def annotated(_: str, files: list[str]) -> bool:
        pictures = {Path(file).stem for file in files if file.lower().endswith((".jpg", ".jpeg", ".png"))}
        return any(file.endswith(".mat") and Path(file).stem in pictures for file in files)

    for setting, folder in _splits(values):
        if not _any_file(folder, deadline, annotated):
            raise BadInput(
                f"{setting}: {folder_layouts.shown(folder)} has no picture with its annotation, a .mat, beside it"
            )


def _biwi(values: Mapping[str, Any], deadline: float) -> None:
    for _, folder in _splits(values):
        sequences = folder_layouts.subfolders(folder)
        if not any(_has_frames(folder / name, deadline) for name in sequences):
            raise folder_layouts.no_sequences(folder)


def _has_frames(sequence: Path, deadline: float) -> bool:
    return any(name.endswith(folder_layouts.BIWI_PICTURE) for name in _names(sequence, deadline))


def _clips(values: Mapping[str, Any], deadline: float) -> None:
    for setting, folder in _splits(values):
        for name in folder_layouts.clip_classes(folder, setting):
            first = folder / name / folder_layouts.clips_of(folder / name, setting)[0]
            if not all(
                folder_layouts.images_in(str(stream), _names(stream, deadline))
                for stream in folder_layouts.clip_streams(first)
            ):
                raise folder_layouts.no_frames(first, setting)


def _names(folder: Path, deadline: float) -> list[str]:
    if time.monotonic() > deadline:
        raise _TimeLimitReached
    with folder_layouts.scandir(os.fspath(folder)) as entries:
        return [entry.name for entry in entries]


def _any_file(folder: Path, deadline: float, wanted: Callable[[str, list[str]], bool]) -> bool:
    """Whether `wanted` is true of the files of a folder, or of one of its sub-folders."""
    for home, folders, files in os.walk(folder, followlinks=True):
        if time.monotonic() > deadline:
            raise _TimeLimitReached
        if wanted(home, files):
            return True
        folders[:] = [name for name in folders if not image_files.is_ignored(name)]
    return False


def _check_shards(values: Mapping[str, Any], deadline: float) -> None:
    from gputrain.engine.datasets.shards import shard_preview  # NumPy: no other layout needs it

    shard_preview.check_shards(values, deadline)


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], float], None]] = {
    "demo": _classes,
    "imagefolder": _classes,
    **dict.fromkeys(SHARDED, _check_shards),
    "cifar10": _cifar,
    "300wlp": _300wlp,
    "biwi": _biwi,
    "clips": _clips,
}
