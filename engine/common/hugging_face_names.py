"""Names of data sets of Hugging Face's `datasets`: ``hf:OWNER/NAME[:CONFIG]``, and the folder of its cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.,=%+-]+))?")
_SHORT = re.compile(r"\s*dataset\s*=\s*(hf:(?!//)[^@]*)(?:@(.*))?", re.DOTALL)


class HubName(NamedTuple):
    """A data set by its name."""

    name: str
    """``OWNER/NAME``, or ``NAME``."""
    config: str
    """Its configuration; empty for the default one."""


def is_hub_name(text: str) -> bool:
    """Whether `text` names a data set (``hf:NAME``), and is no path and no URL (``hf://…``)."""
    return text.startswith(PREFIX) and not text.startswith(f"{PREFIX}//")


def parse(text: str) -> HubName:
    """The parts of ``hf:NAME[:CONFIG]``. Raises BadInput."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise BadInput(
            f"data_dir: '{plain(text, 100)}' is no name of a data set; hf:OWNER/NAME, or hf:OWNER/NAME:CONFIG"
        )
    return HubName(found["name"], found["config"] or "")


def with_split_settings(argument: str) -> Iterator[str]:
    """``dataset=hf:NAME[:CONFIG][@TRAIN[,VAL]]`` as one argument for each setting; any other argument as it is.

    A folder may stand for NAME: ``dataset=hf:/data/prepared``. Raises BadInput.
    """
    found = _SHORT.fullmatch(argument)
    if found is None:
        yield argument
        return
    place, splits = found[1].strip(), found[2]
    folder = place.removeprefix(PREFIX)
    if not folder.startswith(("/", "./", "../", "~")):
        parse(place)
        folder = place
    yield "dataset=hf"
    yield f"data_dir={folder}"
    if splits is None:
        return
    train, comma, val = (part.strip() for part in splits.partition(","))
    if not train or "," in val:
        raise BadInput(f"'{plain(argument, 100)}': expected dataset=hf:NAME@TRAIN or dataset=hf:NAME@TRAIN,VAL")
    yield f"train_split={train}"
    if comma:
        yield f"val_split={val}"


def cache_folder() -> Path:
    """The folder where `datasets` keeps prepared data, by the same environment variables. Raises BadInput."""
    if own := os.environ.get("HF_DATASETS_CACHE"):
        return files.expand_user(own)
    if home := os.environ.get("HF_HOME"):
        return files.expand_user(home) / "datasets"
    return files.expand_user(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "datasets"
