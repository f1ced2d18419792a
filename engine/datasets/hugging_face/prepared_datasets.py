"""Finds data that Hugging Face's `datasets` has prepared under a name, or has them prepared, in a process of its own.

The package itself is imported in that process alone: it takes a second, and more memory than the reader.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gputrain.engine.common import files, hugging_face_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.hugging_face_names import HubName
from gputrain.engine.common.remote_urls import without_secrets
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown

INSTALL = "pip install 'gputrain-tui[hf]'"
OnWait = Callable[[int], None]
"""Called repeatedly with 0 while a data set is prepared; may raise to stop it."""
_POLL_SECONDS = 0.2
_CHILD = "gputrain.engine.datasets.hugging_face.prepare_dataset"
_CAPITALS = ((re.compile(r"([A-Z]+)([A-Z][a-z])"), r"\1_\2"), (re.compile(r"([a-z\d])([A-Z])"), r"\1_\2"))


class NotPrepared(Exception):  # noqa: N818 - reads as what it is
    """The data set is not on this machine yet; the run will have it prepared."""


def folder_of(name: str, on_wait: OnWait | None = None) -> Path:
    """The folder of the newest prepared data of ``hf:NAME[:CONFIG]``.

    If there is none, `datasets` prepares it with `on_wait`; without, NotPrepared is raised. Raises BadInput if that
    cannot be, and what `on_wait` raises.
    """
    wanted = hugging_face_names.parse(name)
    found = _newest(wanted)
    if found is not None:
        return found
    try:
        importlib.metadata.version("datasets")
    except importlib.metadata.PackageNotFoundError:
        raise BadInput(
            f"data_dir: {name} is not in {shown(hugging_face_names.cache_folder())}, and the package datasets, which "
            f"would fetch it, is not installed: {INSTALL}"
        ) from None
    if on_wait is None:
        raise NotPrepared(name)
    return _prepare(wanted, name, on_wait)


def _newest(wanted: HubName) -> Path | None:
    """The folder of the newest version in the cache, as `datasets` chooses it without a network. Raises BadInput."""
    home = hugging_face_names.cache_folder() / _folder_name(wanted.name)
    found = [path for path in home.glob("*/*/*") if path.is_dir() and not path.name.endswith(".incomplete")]
    if not wanted.config:
        # Other files or arguments than the configuration's own are in folders that end with their hash.
        found = [path for path in found if _config_of(path) in ("", path.parts[-3])]
    configs = sorted({path.parts[-3] for path in found})
    config = wanted.config or ("default" if "default" in configs else "")
    if not config and len(configs) > 1:
        named = ", ".join(plain(each, 60) for each in configs[:8])
        raise BadInput(
            f"data_dir: hf:{wanted.name} is prepared in {len(configs)} configurations ({named}); choose one: "
            f"data_dir=hf:{wanted.name}:{plain(configs[0], 60)}"
        )
    chosen = [path for path in found if not config or path.parts[-3] == config]
    return max(chosen, key=lambda path: path.stat().st_mtime, default=None)


def _config_of(folder: Path) -> str:
    """The configuration of a prepared data set; empty if its information does not say so, or cannot be read."""
    try:
        found = json.loads((folder / "dataset_info.json").read_bytes())
    except (OSError, ValueError):
        return ""
    name = found.get("config_name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


def _folder_name(name: str) -> str:
    """The folder of ``OWNER/NAME`` in the cache: ``OWNER___name``."""
    owner, slash, own = name.rpartition("/")
    for pattern, replacement in _CAPITALS:
        own = pattern.sub(replacement, own)
    return f"{owner}___{own.lower()}" if slash else own.lower()


def _prepare(wanted: HubName, name: str, on_wait: OnWait) -> Path:
    # Without the current folder in the path of modules: one called `datasets` is nothing rare.
    command = [sys.executable, "-P", "-m", _CHILD, wanted.name, wanted.config]
    with tempfile.TemporaryDirectory(prefix="gputrain-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                on_wait(0)
                try:
                    code = child.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            child.terminate()
            child.wait()
            raise
        why = without_secrets(files.last_line(log))
    found = _newest(wanted) if not code else None
    if found is None:
        raise BadInput(
            f"data_dir: {name} is not in {shown(hugging_face_names.cache_folder())}, and datasets cannot prepare it: "
            f"{why or f'exit code {code}'}; check the name and the network, or prepare it where there is one: "
            f"datasets.load_dataset('{wanted.name}')"
        )
    return found
