"""Which files are the shards of a split: braces, globs, folders and file name prefixes. Imports no torch."""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.remote_urls import checked, is_url
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import IMAGENET, shown
from gputrain.engine.datasets.record_files import split_index
from gputrain.engine.datasets.remote_shards import remote_listing
from gputrain.engine.datasets.shards import shard_numbering

SUFFIXES = {"webdataset": ".tar", "parquet": ".parquet", "tfrecord": ".tfrecord"}
"""Values of `dataset` whose shards are found by their names, and the suffix of these."""
_NUMBERS = f"-{'[0-9]' * 5}-of-{'[0-9]' * 5}"
_GLOBS = {".tfrecord": ("*.tfrecord", "*.tfrecords", f"*.tfrecord{_NUMBERS}", f"*{_NUMBERS}")}
"""Names of shards where more than the suffix says it: TensorFlow's tools number their files behind it."""
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
"""Archives without random access."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)\Z")
_PATTERN = re.compile(r"[*?{\[]")
_MOST = 1_000_000
"""Shards of a pattern: more are a typing error."""
_NEAR = ("", "data")
"""Sub-folders of data_dir that are searched for files of a split, as in repositories of the Hugging Face Hub."""


def shards_of(data_dir: str, split: str, dataset: str, setting: str = "train_split") -> list[str]:
    """Absolute paths or URLs of a split's shards, sorted unless braces give an order.

    `split` is a pattern (``train-{000000..000146}.tar``, ``train-*.tar``, several joined with ``::``), a folder of
    shards, or what their names begin with. Relative ones are relative to `data_dir`. Raises BadInput with `setting`,
    the place and the remedy.
    """
    suffix = SUFFIXES[dataset]
    if is_url(data_dir):
        url = checked(data_dir)
        return _unique(_remote(url, split, suffix, setting), url, split, setting)
    home = _home(data_dir, suffix)
    found: list[str] = []
    for part in split.split("::"):
        if _PATTERN.search(part) or is_shard(part, suffix):
            found += _matching(home, part, suffix, setting)
        else:
            found += _named(home, part, suffix, setting)
    return _unique(found, os.fspath(home), split, setting)


def _unique(found: list[str], home: str, split: str, setting: str) -> list[str]:
    if len(set(found)) != len(found):
        twice = next(path for path in found if found.count(path) > 1)
        raise BadInput(f"{setting}: {shown(twice)} is named twice by {plain(split, 200)}")
    shard_numbering.check_one_set(found, home, setting)
    return found


def _remote(folder: str, split: str, suffix: str, setting: str) -> list[str]:
    """URLs of the shards. Names in braces are not looked up: the index asks for the size of each."""
    found: list[str] = []
    for part in split.split("::"):
        if not (_PATTERN.search(part) or is_shard(part, suffix)):
            found += _remote_named(folder, part, suffix, setting)
            continue
        for each in expand_braces(part):
            if not glob.has_magic(each):
                _refuse_other(Path(each), suffix, setting)
                found.append(f"{folder}/{each.strip('/')}")
                continue
            chosen = [url for url in remote_listing.matching(folder, each) if is_shard(url, suffix)]
            if not chosen:
                raise _no_remote_match(folder, split, suffix, setting)
            found += chosen
    return found


def _remote_named(folder: str, split: str, suffix: str, setting: str) -> list[str]:
    """The shards in the folder `split`, or those whose names begin with it: the same rule as for local ones."""
    places = [[f"{split}/{level}{name}" for name in globs_of(suffix)] for level in ("", "*/")]
    places += [[f"{near}{name}" for name in _split_globs(split, suffix)] for near in ("", "data/")]
    found: list[str] = []
    for patterns in places:
        found = found or sorted({url for pattern in patterns for url in remote_listing.matching(folder, pattern)})
    if not found:
        raise _no_remote_match(folder, split, suffix, setting)
    shard_numbering.check_one_set(found, folder, setting)
    shard_numbering.check_complete(found, folder, setting)
    return found


def _no_remote_match(folder: str, split: str, suffix: str, setting: str) -> BadInput:
    there = remote_listing.names_in(folder) or []
    has = f"it has {', '.join(plain(name, 60) for name in there[:8])}" if there else "it is empty or does not exist"
    return BadInput(
        f"{setting}: no {suffix.removeprefix('.')} matches {plain(split, 200)} in data_dir ({shown(folder)}); {has}; "
        f"{setting} takes a pattern ({setting}='train-*{suffix}'), a folder, or a beginning"
    )


def remote_layout_of(data_dir: str, train_split: str) -> str:
    """The value of `dataset` for remote shards, by the pattern or by what the folder has; empty if neither says so."""
    if named := layout_by_name(train_split.removesuffix("}")):
        return named
    folder = checked(data_dir)
    if listed := split_index.layout_of(folder, train_split):
        return listed
    for place in (folder, f"{folder}/data", f"{folder}/{train_split}"):
        names = remote_listing.names_in(place) or ()
        if found := next(filter(None, map(layout_by_name, names)), ""):
            return found
    return ""


def layout_of(data_dir: str, train_split: str) -> str:
    """The value of `dataset` for a folder of shards; empty for one that has class folders, or no shards.

    Raises BadInput if `data_dir` is a URL that cannot be listed.
    """
    if is_url(data_dir):
        return remote_layout_of(data_dir, train_split)
    home = files.expand_user(data_dir)
    from gputrain.engine.datasets.hugging_face import arrow_splits  # not for every command

    if arrow_splits.has_arrow_data(home):
        return "hf"
    if listed := split_index.layout_of(data_dir, train_split):
        return listed
    split = home / train_split
    if split.is_dir() and any(entry.is_dir() for entry in split.iterdir()):
        return ""
    return "imagenet" if (home / IMAGENET["train"]).is_file() else has_shards(home)


def has_shards(folder: Path) -> str:
    """The value of `dataset` for a folder of shards (at the top, in a sub-folder, or in ``data``); empty if none."""
    for dataset, suffix in SUFFIXES.items():
        names = globs_of(suffix)
        for pattern in (*names, *(f"*/{name}" for name in names)):
            if next(iter(folder.glob(pattern)), None) is not None:
                return dataset
    return ""


def layout_at_top(folder: Path) -> str:
    """The value of `dataset` for shards in `folder` itself; empty if it has none."""
    return next((dataset for dataset, suffix in SUFFIXES.items() if _visible(folder, *globs_of(suffix))), "")


def layout_by_name(name: str) -> str:
    """The value of `dataset` for a file of this name; empty if it is no shard's."""
    return next((dataset for dataset, suffix in SUFFIXES.items() if is_shard(name, suffix)), "")


def expand_braces(pattern: str) -> Iterator[str]:
    """All texts of a pattern with ``{000..146}`` and ``{a,b}``, in order, as a shell expands them."""
    parts: list[list[str]] = []
    last = 0
    for match in _BRACES.finditer(pattern):
        parts += [[pattern[last : match.start()]], _alternatives(match)]
        last = match.end()
    parts.append([pattern[last:]])
    return ("".join(chosen) for chosen in itertools.product(*parts))


def _alternatives(match: re.Match[str]) -> list[str]:
    numbers = _RANGE.match(match[1])
    if numbers is None:
        return match[1].split(",") if "," in match[1] else [match[0]]
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= _MOST:
        raise BadInput(f"{plain(match[0], 100)}: more than {_MOST:,} shards")
    # As in a shell: zeros in front of either number set the width.
    padded = any(len(number) > 1 and number.startswith("0") for number in numbers.groups())
    width = max(map(len, numbers.groups())) if padded else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def _home(data_dir: str, suffix: str) -> Path:
    if not data_dir:
        raise BadInput(f"data_dir is not set; name the folder that holds the shards (*{suffix}): data_dir=/data/shards")
    home = files.expand_user(data_dir)
    if home.is_dir():
        return home
    if home.exists() or _PATTERN.search(data_dir):
        raise BadInput(
            f"data_dir: {shown(home)} is no folder; name the folder with data_dir, and the shards in it with "
            f"train_split={plain(home.name, 100)}"
        )
    raise BadInput(f"data_dir: {shown(home)} does not exist; name the folder that holds the shards (*{suffix})")


def _matching(home: Path, pattern: str, suffix: str, setting: str) -> list[str]:
    found: list[str] = []
    for each in expand_braces(pattern):
        if glob.has_magic(each):
            matches = glob.glob(os.path.join(glob.escape(os.fspath(home)), each))  # noqa: PTH118, PTH207 - patterns
            chosen = sorted(path for path in matches if is_shard(path, suffix))
            if not chosen:
                raise _no_match(home, pattern, suffix, setting)
            found += chosen
            continue
        path = home / each
        if path.is_file():
            _refuse_other(path, suffix, setting)
            found.append(os.fspath(path))
        elif not found and "{" in pattern:
            raise _no_match(home, pattern, suffix, setting)
        else:
            raise BadInput(f"{setting}: the shard {shown(path)} does not exist; {setting} is {plain(pattern, 200)}")
    return found


def _refuse_other(path: Path, suffix: str, setting: str) -> None:
    if not is_shard(path.name, suffix):
        raise BadInput(f"{setting}: {shown(path)} is no {suffix} file")


def _named(home: Path, split: str, suffix: str, setting: str) -> list[str]:
    """The shards in the folder `split`, or those whose names begin with it."""
    folder = home / split
    if folder.is_dir():
        found = _visible(folder, *globs_of(suffix)) or _visible(folder, *(f"*/{name}" for name in globs_of(suffix)))
    else:
        patterns = _split_globs(glob.escape(split), suffix)
        places = (_visible(home / near, pattern) for near in _NEAR for pattern in patterns)
        found = next((paths for paths in places if paths), [])
    if not found:
        raise _no_match(home, split, suffix, setting)
    shard_numbering.check_one_set(found, os.fspath(home), setting)
    shard_numbering.check_complete(found, os.fspath(home), setting)
    return found


def globs_of(suffix: str) -> tuple[str, ...]:
    """Patterns of the names of shards with this suffix."""
    return _GLOBS.get(suffix, (f"*{suffix}",))


def is_shard(path: str, suffix: str) -> bool:
    """Whether a file's name is that of such a shard."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in globs_of(suffix))


def _split_globs(split: str, suffix: str) -> list[str]:
    """Patterns of the names that begin with a split, or name it as TensorFlow Datasets does (``flowers-train.…``)."""
    ends = [pattern[1:] for pattern in globs_of(suffix)]
    begins = (split, *(f"{split}{mark}*" for mark in "-_."), *((f"*-{split}",) if suffix in _GLOBS else ()))
    return [f"{begin}{end}" for begin in begins for end in ends]


def _visible(folder: Path, *patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")}
    return sorted(os.fspath(path) for path in found)


def _no_match(home: Path, split: str, suffix: str, setting: str) -> BadInput:
    kind = suffix.removeprefix(".")
    text = f"{setting}: no {kind} matches {plain(split, 200)} in data_dir ({shown(home)})"
    packed = [path.name for path in home.glob("*") if path.name.endswith(COMPRESSED)] if suffix == ".tar" else []
    if packed:
        return BadInput(f"{text}; {plain(packed[0], 100)} is compressed: unpack such archives to .tar")
    there = sorted(path.name for path in home.glob("*") if path.is_dir() or is_shard(path.name, suffix))
    has = f"it has {', '.join(plain(name, 60) for name in there[:8])}" if there else "it has none"
    return BadInput(f"{text}; {has}; {setting} takes a pattern ({setting}='train-*{suffix}'), a folder, or a beginning")
