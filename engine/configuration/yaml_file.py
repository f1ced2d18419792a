"""Reads YAML files safely and keeps the line of every key for error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gputrain.engine.common import renamed_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import settings, yaml_scalars

MAX_BYTES = 64 << 10
"""Larger files are not parsed: they are not configurations."""


class _Loader(yaml_scalars.Loader):
    """The safe loader without aliases: nested aliases expand a few lines to a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported: repeat the value", problem_mark=mark)
        return super().compose_node(parent, index)


class Document(msgspec.Struct, frozen=True):
    """A parsed file: its values, and the line (from 1) of each key by dotted path."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]
    texts: dict[str, str]
    """The text of each scalar as written, by dotted path."""

    def place(self, *keys: str) -> str:
        """The position of a key for error messages: ``"file.yaml:12"``."""
        line = self.lines.get(".".join(keys))
        return f"{self.path}:{line}" if line else str(self.path)

    def renamed(self) -> tuple[str, ...]:
        """A note for each setting that the file calls by an old name."""
        places = ({key.rpartition(".")[2]: f"{self.path}:{line}"} for key, line in self.lines.items())
        return tuple(note for place in places for note in renamed_names.renamed_notes(place))


def load(path: Path) -> Document:
    """Read a file that holds one mapping. Raises BadInput with file and line."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text (byte {error.start})") from None
    if len(raw) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES >> 10} KiB: not a configuration file")
    return parse(path, text)


def parse(path: Path, text: str) -> Document:
    """Parse `text`, the content of `path`, as one mapping. Raises BadInput as `load` does."""
    lines: dict[str, int] = {}
    texts: dict[str, str] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _collect_lines(path, node, "", lines, texts)
        values = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise BadInput(f"{place}: not valid YAML: {plain(error.problem or 'cannot be parsed', 200)}") from None
    except settings.YAML_ERRORS as error:
        raise BadInput(f"{path}: not valid YAML: {plain(str(error), 200)}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise BadInput(f"{path}:1: expected 'key: value' lines, found a {type(values).__name__}")
    return Document(path, values, lines, texts)


def _collect_lines(path: Path, node: yaml.Node, prefix: str, lines: dict[str, int], texts: dict[str, str]) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise BadInput(f"{path}:{line}: a key must be a word")
        if key.tag != "tag:yaml.org,2002:str":
            raise BadInput(f"{path}:{line}: the key {plain(key.value, 60)} must be a word; put it in quotes")
        name = f"{prefix}{key.value}"
        if name in lines:
            raise BadInput(f"{path}:{line}: {plain(key.value, 60)} is given twice (first in line {lines[name]})")
        lines[name] = line
        if isinstance(value, yaml.ScalarNode):
            texts[name] = value.value
        _collect_lines(path, value, f"{name}.", lines, texts)


def read_settings(
    document: Document, values: Mapping[str, Any] | None = None, within: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The settings of a mapping in `document`, flat or grouped by section, checked.

    `values`: the mapping, by default the whole document; `within`: the path of keys that leads to it.
    Raises BadInput with file and line.
    """
    found: dict[str, Any] = {}
    for keys, name, value in _leaves(document, document.values if values is None else values, within):
        try:
            setting = settings.find(name)
            if setting.name in found:
                raise BadInput(f"{setting.name} is given twice")
            text = document.texts.get(".".join(keys))
            wanted = value if text is None else settings.as_written(setting, value, text)
            found[setting.name] = settings.check(setting, wanted)
        except BadInput as error:
            raise BadInput(f"{document.place(*keys)}: {plain(str(error), 300)}") from None
    return found


def _leaves(
    document: Document, values: Mapping[str, Any], within: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for key, value in values.items():
        if key not in settings.sections():
            yield (*within, key), key, value
        elif isinstance(value, dict):
            yield from (((*within, key, k), f"{key}.{k}", v) for k, v in value.items())
        elif value is not None and key not in settings.table():
            raise BadInput(f"{document.place(*within, key)}: {key} groups settings: expected 'setting: value' lines")
        elif value is not None:
            yield (*within, key), key, value
