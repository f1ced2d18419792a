"""Which Arrow files are a split: of a folder of `save_to_disk`, or of one in the cache of Hugging Face's `datasets`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gputrain.engine.common import files, hugging_face_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import is_url
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.hugging_face import prepared_datasets
from gputrain.engine.datasets.hugging_face.prepared_datasets import OnWait

STATE = "state.json"
"""File of `Dataset.save_to_disk`: which Arrow files belong to it."""
SPLITS = "dataset_dict.json"
"""File of `DatasetDict.save_to_disk`: its splits, which are sub-folders."""
INFO = "dataset_info.json"
_USUAL = ("validation", "valid", "dev", "test")
"""Splits for ``val_split: val`` in data sets that have no `val`, by preference."""


def arrow_files(data_dir: str, split: str, setting: str, on_wait: OnWait | None = None) -> tuple[str, ...]:
    """The Arrow files of a split in order.

    `data_dir` is a folder or a name. With `on_wait`, a name that is not prepared is prepared by `datasets`. Raises
    BadInput with the setting, the place and the remedy; NotPrepared for such a name without `on_wait`.
    """
    home = _folder(data_dir, on_wait)
    found = splits_in(home)
    if not found:
        raise BadInput(
            f"data_dir: {shown(home)} has no data of Hugging Face's datasets ({SPLITS}, {STATE}, or {INFO} with .arrow "
            "files); name a folder of save_to_disk, or hf:OWNER/NAME"
        )
    name = split_of(found, split, setting)
    if not name:
        has = ", ".join(plain(each, 60) for each in list(found)[:8])
        more = "" if setting == "train_split" else f"; {setting}= for no validation"
        raise BadInput(
            f"{setting}: there is no split '{plain(split, 60)}' in {shown(home)}; it has {has}: {setting}=NAME{more}"
        )
    if not found[name]:
        raise BadInput(f"{setting}: the split '{plain(name, 60)}' in {shown(home)} has no rows; choose another one")
    return tuple(map(str, found[name]))


def split_of(found: dict[str, list[Path]], wanted: str, setting: str) -> str:
    """The name of the split that `wanted` is; empty if there is none. ``val`` has several usual names."""
    if wanted in found:
        return wanted
    usual = _USUAL if setting == "val_split" and wanted == "val" else ()
    return next((name for name in usual if name in found), "")


def has_arrow_data(folder: Path) -> bool:
    """Whether `folder` is one of `save_to_disk`, or of the cache of `datasets`."""
    if (folder / SPLITS).is_file() or (folder / STATE).is_file():
        return True
    return (folder / INFO).is_file() and next(iter(folder.glob("*.arrow")), None) is not None


def _folder(data_dir: str, on_wait: OnWait | None) -> Path:
    if not data_dir:
        raise BadInput("data_dir is not set; name a folder of save_to_disk, or hf:OWNER/NAME")
    if is_url(data_dir):
        raise BadInput(
            "data_dir: dataset=hf reads folders and names (hf:OWNER/NAME); dataset=parquet reads Parquet at a URL"
        )
    if hugging_face_names.is_hub_name(data_dir):
        return prepared_datasets.folder_of(data_dir, on_wait)
    home = files.expand_user(data_dir)
    if not home.is_dir():
        raise BadInput(f"data_dir: {shown(home)} does not exist; name a folder of save_to_disk, or hf:OWNER/NAME")
    return home


def splits_in(home: Path) -> dict[str, list[Path]]:
    """The splits of a folder, each with its Arrow files in order. Raises BadInput for files that are missing."""
    if (home / SPLITS).is_file():
        names = _json(home / SPLITS).get("splits")
        return {str(name): _saved(home / str(name)) for name in (names if isinstance(names, list) else [])}
    if (home / STATE).is_file():
        name = _json(home / STATE).get("_split")
        return {name if isinstance(name, str) and name else "train": _saved(home)}
    if (home / INFO).is_file():
        return _cached(home)
    folders = sorted(path.parent for path in home.glob(f"*/{STATE}"))
    return {folder.name: _saved(folder) for folder in folders}


def _saved(folder: Path) -> list[Path]:
    """The files of a data set of `save_to_disk`."""
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise BadInput(f"{shown(folder)} selects rows by another file, as old versions of datasets wrote; save it anew")
    listed = state.get("_data_files")
    if listed == []:
        return []  # a split without rows
    names = [row.get("filename") if isinstance(row, dict) else None for row in listed or []]
    if not names or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{shown(folder / STATE)} names no Arrow files; save the data set anew")
    found = [folder / str(name) for name in names]
    for path in found:
        if not path.is_file():
            raise BadInput(f"{shown(path)} is missing; save the data set anew")
    return found


def _cached(folder: Path) -> dict[str, list[Path]]:
    """The splits in a folder of the cache: ``NAME-SPLIT.arrow``, or ``NAME-SPLIT-00000-of-00005.arrow`` and so on."""
    splits = _json(folder / INFO).get("splits")
    names = sorted(path.name for path in folder.glob("*.arrow") if not path.name.startswith(("cache-", "tmp")))
    found: dict[str, list[Path]] = {}
    for split in splits if isinstance(splits, dict) else ():
        form = re.compile(rf".+-{re.escape(split)}(?:-(\d{{5}})-of-(\d{{5}}))?\.arrow")
        matches = [match for name in names if (match := form.fullmatch(name))]
        counts = {int(match[2] or 1) for match in matches}
        if counts != {len(matches)}:
            raise BadInput(
                f"{shown(folder)} has not all Arrow files of the split '{plain(split, 60)}'; remove the folder, and "
                "prepare it anew with datasets.load_dataset"
            )
        found[split] = [folder / match[0] for match in matches]
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{shown(path)}: cannot be read: {error}; save the data set anew") from None
    if not isinstance(found, dict):
        raise BadInput(f"{shown(path)}: cannot be read; save the data set anew")
    return found
