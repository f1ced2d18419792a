"""A wall clock that a test sets back, for programs that are started with `SettableClock.env` in their environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fakes.nvml import compiler

SOURCE = Path(__file__).with_name("clock.c")


class SettableClock:
    """Compiled on the spot. Raises CalledProcessError with the compiler's words on stderr."""

    def __init__(self, folder: Path) -> None:
        self._library, self._back = folder / "clock.so", folder / "set-back"
        folder.mkdir(exist_ok=True)
        self._back.unlink(missing_ok=True)
        command = [compiler() or "cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
        subprocess.run([*command, "-o", str(self._library), str(SOURCE), "-ldl"], check=True)

    @property
    def env(self) -> dict[str, str]:
        """What the program needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "SET_BACK": str(self._back)}

    def back(self, hours: int) -> None:
        """From now on the clock is `hours` behind."""
        self._back.write_bytes(b"h" * hours)
