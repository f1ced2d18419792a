"""The page that this process writes (see `layout`), and what is shared by the hooks: the guard, the fork handler."""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import layout

_MOST_LIVES = 1000


class Page:
    """One mapped page. `slots` is a view of doubles: reading and writing an element is one memory access."""

    def __init__(self, folder: str, role: float) -> None:
        """Make the file of this process below `folder`. Raises OSError."""
        handle = _new_file(folder, "%d-%d" % (os.getpid(), int(role)))
        try:
            os.ftruncate(handle, layout.PAGE_BYTES)
            self._memory = mmap.mmap(handle, layout.PAGE_BYTES)
        finally:
            os.close(handle)
        view = memoryview(self._memory)
        self.slots = view[: layout.SLOTS * 8].cast("d")
        self._ring = view[layout.SLOTS * 8 :]
        self._lock = threading.Lock()
        self.slots[layout.PID] = os.getpid()
        self.slots[layout.PARENT] = os.getppid()
        self.slots[layout.ROLE] = role
        # Written last: a reader takes a page without a version for one that is being made.
        self.slots[layout.VERSION_SLOT] = layout.VERSION

    def say(self, **fields: Any) -> None:
        """Append a line of JSON to the ring of text. Old lines are written over; the reader counts what it missed."""
        line = json.dumps(fields, separators=(",", ":"), default=str).encode()[: layout.RING_BYTES // 8] + b"\n"
        with self._lock:
            end = int(self.slots[layout.RING_END])
            start = end % layout.RING_BYTES
            first = min(len(line), layout.RING_BYTES - start)
            self._ring[start : start + first] = line[:first]
            self._ring[: len(line) - first] = line[first:]
            self.slots[layout.RING_END] = end + len(line)


def _new_file(folder: str, name: str) -> int:
    """A new page's file. There may be one with that name: this process was another program before (exec), or an ended
    one had its number. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    for life in range(1, _MOST_LIVES):
        try:
            return os.open(os.path.join(folder, "%s-%d.page" % (name, life)), flags, 0o600)
        except FileExistsError:
            continue
    raise OSError("too many pages of " + name)


def _rank_and_world() -> tuple[float, float]:
    """Rank of this process and size of its world, from torch's process group or its launcher; -1 and 1 without."""
    try:
        group = getattr(sys.modules.get("torch"), "distributed", None)
        if group is not None and group.is_available() and group.is_initialized():
            return float(group.get_rank()), float(group.get_world_size())
    except Exception:  # noqa: BLE001, S110 - the launcher's variables may tell
        pass
    try:
        return float(int(os.environ.get("RANK", "-1"))), float(int(os.environ.get("WORLD_SIZE", "1")))
    except ValueError:
        # A script may use these names for something else.
        return -1.0, 1.0


class Probe:
    """State of the probe in this process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.page: Page | None = None
        self.off: dict[str, str] = {}
        """Hooks that failed, and why."""
        self._unsaid: list[tuple[str, str]] = []
        """Of these, what there was no page for yet."""
        self.after_fork: list[Callable[[], None]] = []
        register = getattr(os, "register_at_fork", None)
        if register is not None:
            register(after_in_child=self._forked)

    def trainer_page(self) -> Page | None:
        """The page of this process as one that trains; None where it can't be made."""
        if self.page is None and "page" not in self.off:
            try:
                self.page = Page(self.folder, layout.TRAINER)
                slots = self.page.slots
                slots[layout.RANK], slots[layout.WORLD] = _rank_and_world()
                slots[layout.LOSS_UPDATE] = -1.0
                self._say_failures(self.page)
            except Exception as error:  # noqa: BLE001 - the script comes first
                self.off["page"] = repr(error)
        return self.page

    def failed(self, hook: str, error: BaseException, page: Page | None = None) -> None:
        """A hook raised: it is off from now on, and that is said once, on `page` if it is not the trainer's. Never
        raises."""
        try:
            if hook in self.off:
                return
            self.off[hook] = repr(error)
            self._unsaid.append((hook, self.off[hook][:300]))
            self._say_failures(page or self.page)
        except Exception:  # noqa: BLE001, S110 - nothing is left that could be done
            pass

    def _say_failures(self, page: Page | None) -> None:
        while page is not None and self._unsaid:
            hook, why = self._unsaid.pop()
            page.slots[layout.DISABLED] += 1
            page.say(kind="disabled", hook=hook, why=why)

    def _forked(self) -> None:
        # The parent's page is not this process's to write.
        self.page = None
        self._unsaid.clear()
        for reset in self.after_fork:
            reset()


def hide_frame(error: BaseException) -> None:
    """Take the calling frame off the traceback of an exception that passes through it, so that it shows the script's
    own frames alone. Works from Python 3.11 on."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
