"""Copies what a script prints to its pseudo-terminal into a file: a process of its own, which no supervisor can stop.

``python -I -S terminal_relay.py FD`` copies from descriptor FD to standard output until nobody holds the terminal's
other side. A script that prints to a terminal which nobody reads would stand still after 4 KB.
"""

from __future__ import annotations

import os
import sys

_CHUNK = 1 << 16


def main(handle: int) -> None:
    """Copy until the end. A full disk loses output, and never stops the script."""
    while True:
        try:
            chunk = os.read(handle, _CHUNK)
        except OSError:
            # Linux reports EIO when the last process with the terminal has ended.
            return
        if not chunk:
            return
        try:
            while chunk:
                chunk = chunk[os.write(1, chunk) :]
        except OSError:
            continue


if __name__ == "__main__":
    main(int(sys.argv[1]))
