"""Marks of a run: the user's name, tags and note, in ``marks.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.files import write_atomic
from gputrain.engine.common.sanitize import plain
from gputrain.engine.runs.run_directory import RunDir

MAX_NAME = 80
_MAX_NOTE = 1000
_TAG = re.compile(r"[\w][\w.:+-]{0,39}")


class RunMarks(msgspec.Struct, frozen=True):
    """The user's name, tags and note of a run, as plain text."""

    name: str = ""
    """Replaces the name in the settings."""
    tags: tuple[str, ...] = ()
    note: str = ""


def read_marks(run: RunDir) -> RunMarks:
    """The marks of `run`; empty if there are none or they cannot be read."""
    try:
        return decode_marks((run.directory / "marks.json").read_bytes())
    except OSError:
        return RunMarks()


def decode_marks(written: bytes) -> RunMarks:
    """The marks in the content of a ``marks.json``; empty if it cannot be read."""
    try:
        found = msgspec.json.decode(written, type=RunMarks)
    except (msgspec.DecodeError, UnicodeError):
        return RunMarks()
    return RunMarks(plain(found.name, MAX_NAME), tuple(plain(t, 40) for t in found.tags), plain(found.note, 1000))


def check_tags(tags: Iterable[str]) -> None:
    """Raises BadInput for the first of `tags` that cannot be one."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise BadInput(f"a tag has up to 40 letters, digits and . : + - _, got '{plain(tag, 60)}'")


def write_marks(
    run: RunDir,
    *,
    name: str | None = None,
    note: str | None = None,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> RunMarks:
    """Change the marks of `run`; None leaves a text as it is. Raises BadInput."""
    before = read_marks(run)
    add = tuple(add)
    check_tags(add)
    removed = set(remove)
    tags = tuple(dict.fromkeys((*(tag for tag in before.tags if tag not in removed), *add)))
    after = RunMarks(
        before.name if name is None else _text("name", name, MAX_NAME),
        tags,
        before.note if note is None else _text("note", note, _MAX_NOTE),
    )
    try:
        write_atomic(run.directory / "marks.json", msgspec.json.encode(after))
    except OSError as error:
        raise BadInput(f"{run.directory}: cannot be written: {error.strerror}") from None
    return after


def _text(what: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise BadInput(f"a {what} has at most {longest} characters, got {len(text)}")
    return plain(text, longest)
