"""``python -m gputrain.engine.tracing RAW FILE STEPS``: summarize a trace, and keep it compressed.

A process of its own, so that a large trace costs the supervisor neither memory nor time. Prints the summary as JSON.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sys
from pathlib import Path

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.tracing.kineto_trace import UnreadableTraceError, read_trace
from gputrain.engine.tracing.trace_summary import summarize

MAX_BYTES = 1 << 30
"""Largest trace that is read: about ten times as many bytes of memory are needed."""


def main(raw: Path, kept: Path, steps: int) -> int:
    """Print the summary of `raw` and move it to `kept`; returns an exit code and prints the reason of a failure."""
    try:
        size = raw.stat().st_size
        if size > MAX_BYTES:
            print(f"the trace has {size >> 20:,} MiB, more than {MAX_BYTES >> 20:,}: ask for fewer steps")
            return EXIT_FAILED
        summary = summarize(read_trace(raw), steps)
        with raw.open("rb") as source, gzip.open(kept, "wb", compresslevel=4) as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (OSError, UnreadableTraceError, MemoryError) as error:
        with contextlib.suppress(OSError):
            kept.unlink(missing_ok=True)
        free = shutil.disk_usage(raw.parent).free
        full = f" (the disk has {free >> 20:,} MiB left)" if free < 1 << 28 else ""
        print(f"{error or 'not enough memory'}{full}")
        return EXIT_FAILED
    finally:
        with contextlib.suppress(OSError):
            raw.unlink(missing_ok=True)
    print(msgspec.json.encode(summary).decode())
    return EXIT_FINISHED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
