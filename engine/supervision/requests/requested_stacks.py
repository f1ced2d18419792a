"""Takes the stacks of a run's processes on request, on a thread of the supervisor: a trainer that hangs cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from gputrain.engine.events import StacksTaken
from gputrain.engine.stacks.process_roles import role_namer
from gputrain.engine.stacks.stack_collection import collect


class RequestedStacks:
    """Answers requests one after the other."""

    def __init__(self, directory: Path, on_taken: Callable[[StacksTaken], None], *, script: bool) -> None:
        """`on_taken` gets the answer, on a thread. `script`: the run is a script of the user's own."""
        self._directory, self._on_taken, self._script = directory, on_taken, script

    def take(self, request: str, trainer: int | None) -> str:
        """Begin to answer `request`; `trainer`: its process id. Returns what is done, for the record."""
        if trainer is None:
            self._on_taken(StacksTaken(request=request, text="no process of the run is running now"))
            return "nothing to look at"
        threading.Thread(target=self._work, args=(request, trainer), name="stacks", daemon=True).start()
        return "the processes are asked for their stacks"

    def _work(self, request: str, trainer: int) -> None:
        try:
            role = role_namer(self._directory, trainer, script=self._script)
            taken = collect(request, psutil.Process().children(recursive=True), role)
        except (psutil.Error, OSError) as error:
            taken = StacksTaken(request=request, text=f"the stacks cannot be read: {error}")
        self._on_taken(taken)
