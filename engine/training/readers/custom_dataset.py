"""Reader of the user's own data sets: ``dataset=custom custom=package.module:function``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset

from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.datasets.image_set import ImageSet, image_set
from gputrain.engine.training.readers.reader import OnFound, OpenedDataset
from gputrain.engine.training.tasks.classification import Classification
from gputrain.engine.training.tasks.regression import Regression
from gputrain.engine.training.tasks.task import Task, refuse
from gputrain.engine.training.userdata.user_dataset import LoadedSample, UserDataset, UserSampleError, load_sample
from gputrain.engine.user_code import import_function, source_check

_KEYS = ("train", "val", "sampler", "classes", "loss")


def read(config: RunConfig, on_found: OnFound) -> OpenedDataset:
    """See `Reader`. The function gets ``data_dir`` and returns a torch Dataset, (train, val), or a mapping.

    A mapping has ``train``, and may have ``val``, ``sampler`` (indices to train on), ``classes`` (their number or
    names) and ``loss`` (outputs, targets → mean loss).
    """
    parts = _parts(config)
    folder = config.data.code_dir
    train = _checked(parts["train"], "train", config)
    first = _first(UserDataset(train, None, folder), config)
    classes = _classes(parts.get("classes"), train)
    task = _task(first, classes, config, parts.get("loss"))
    val = parts.get("val")
    on_found(len(train))
    return OpenedDataset(
        _images("train", UserDataset(train, parts.get("sampler"), folder), classes),
        None if val is None else _images("val", UserDataset(_checked(val, "val", config), None, folder), classes),
        task,
    )


def _parts(config: RunConfig) -> Mapping[str, Any]:
    """The result of the user's function as a mapping."""
    spec, folder = config.data.custom, config.data.code_dir
    if not spec:
        raise BadInput(source_check.UNSET)
    function = import_function.import_function(spec, folder, "custom")
    given = import_function.call_user_function(
        function, config.data.data_dir, setting="custom", spec=spec, folder=folder
    )
    if isinstance(given, tuple | list) and len(given) == 2:
        return {"train": given[0], "val": given[1]}
    if not isinstance(given, Mapping):
        return {"train": given}
    for name in given:
        if name not in _KEYS:
            raise BadInput(
                f"custom: {plain(spec, 100)} gave '{plain(str(name), 60)}'{did_you_mean(str(name), _KEYS)} "
                f"(known: {', '.join(_KEYS)})"
            )
    if given.get("train") is None:
        raise BadInput(f"custom: {plain(spec, 100)} gave no 'train'")
    return given


def _checked(dataset: Any, name: str, config: RunConfig) -> Any:
    """`dataset`, if it is map-style and not empty. Raises BadInput."""
    what = f"custom: {name} of {plain(config.data.custom, 100)}"
    if isinstance(dataset, IterableDataset):
        raise BadInput(f"{what} is an IterableDataset; give one with __len__ and __getitem__, which can be resumed")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise BadInput(f"{what} is a {plain(type(dataset).__name__, 60)}, which has no __len__ and __getitem__")
    if not len(dataset):
        raise BadInput(f"{what} is empty")
    return dataset


def _first(user_dataset: UserDataset, config: RunConfig) -> LoadedSample:
    """The first sample; its types decide the task. Raises BadInput for settings that do not suit it."""
    try:
        first = load_sample(user_dataset, config.seed, 0, 0)
    except UserSampleError as error:
        raise BadInput(f"custom: {error}") from error
    off: dict[str, float | str] = {"progressive_start": 0.0}
    if first.image.dtype == torch.float32:
        off |= {"augment": "none", "color_jitter": 0.0, "hue_jitter": 0.0}
        off |= {"random_erasing": 0.0, "auto_augment": "none"}
        if first.image.ndim != 3:
            off |= {"mixup": 0.0, "cutmix": 0.0}
        refuse(config, off, f"does not go with a data set that gives {tuple(first.image.shape)} of float32")
    elif config.data.augment == "crop_flip":
        raise BadInput("augment: crops are the data set's own to make; set augment=flip or augment=none")
    refuse(config, off, "does not go with a custom data set")
    return first


def _classes(given: Any, train: Any) -> tuple[str, ...]:
    """Names of the classes; empty if neither the mapping nor the data set has them."""
    known = given if given is not None else getattr(train, "classes", None)
    if isinstance(known, int):
        return tuple(str(number) for number in range(known))
    return tuple(str(name) for name in known) if known is not None else ()


def _task(first: LoadedSample, classes: tuple[str, ...], config: RunConfig, loss: Any) -> Task:
    if loss is not None and not callable(loss):
        raise BadInput(f"custom: loss is a {plain(type(loss).__name__, 60)}, which can't be called")
    task: Task
    if first.target.is_floating_point():
        task = Regression(max(1, first.target.numel()))
    elif first.target.ndim:
        raise BadInput(f"custom: a target of {tuple(first.target.shape)} integers; give one class, or float32 numbers")
    elif not classes:
        raise BadInput(
            "custom: the targets are classes, but their number is unknown; give the data set an attribute "
            "'classes', or add 'classes' beside 'train'"
        )
    else:
        task = Classification(len(classes), config.optim.label_smoothing)
    if loss is not None:
        task.loss = loss  # type: ignore[method-assign]
    return task


def _images(name: str, user_dataset: UserDataset, classes: tuple[str, ...]) -> ImageSet:
    """The samples as an ImageSet without files, for messages and checkpoints."""
    count = len(user_dataset.dataset)
    return dataclasses.replace(
        image_set(Path(name), [str(number) for number in range(count)], [0] * count, classes), user_dataset=user_dataset
    )
