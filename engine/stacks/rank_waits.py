"""What a rank's main thread does, by its stack: whether it waits for other ranks, and what else may take long.

Frames are those of `faulthandler_text`: ``file:line in function``, the innermost first.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gputrain.engine.stacks.faulthandler_text import is_own

BACKWARD = "the backward pass, in which gradients are exchanged"
DEVICE = "the work that is queued on its GPU"
WORK = "a collective that was begun before"
_FRAME = re.compile(r"(.*):(\d+) in (.*)", re.DOTALL)
_COLLECTIVES = "torch/distributed/distributed_c10d.py"
_BETWEEN = ("torch/distributed/c10d_logger.py", "torch/_ops.py", "torch/utils/_contextlib.py", "functools.py")
"""Files that a call of a collective passes through."""
_EXCHANGING = (
    "torch/nn/parallel/distributed.py",
    "torch/distributed/fsdp/",
    "torch/distributed/utils.py",
    "torch/distributed/_functional_collectives.py",
    "torch/distributed/tensor/",
    "torch/distributed/algorithms/",
    "torch/distributed/optim/",
)
"""Files whose innermost call is one of a collective, or waits for one."""
_DEVICE_FILES = ("torch/cuda/__init__.py", "torch/cuda/streams.py", "torch/accelerator/__init__.py")
_DEVICE_CALL = re.compile(r"\.(item|cpu|tolist|numpy|synchronize|nonzero)\(|\.to\(.*['\"]cpu['\"]")
_WORK_CALL = re.compile(r"\.wait\(\)")
"""Calls in C that wait for the device, or for a collective, and leave no Python frame; those of Python's own do."""
_WAITS_OF_PYTHON = ("/queue.py", "/threading.py", "/selectors.py", "/multiprocessing/")
_LOADER = "torch/utils/data/dataloader.py"
_WORKER_LOOP = " in _worker_loop"
_DOUBTS: tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...] = (
    (
        "it writes or reads a checkpoint",
        re.compile(r"torch/serialization\.py:|/safetensors/|torch/distributed/checkpoint/"),
        re.compile(r"\w*(checkpoint|ckpt)\w*|save(_\w+)?"),
    ),
    (
        "it compiles",
        re.compile(r"torch/_dynamo/convert_frame\.py:|torch/_inductor/|/triton/(compiler|backends)/"),
        re.compile(r"compile(_\w+)?"),
    ),
    ("it validates", re.compile(r"\0"), re.compile(r"\w*(valid|evaluat)\w*|(eval|test)(_\w+)?")),
)
"""What may take long without being a hang, the files in its frames, and names of functions of the user's own."""
_MAX_SOURCE = 1 << 20


class Frame(NamedTuple):
    """One frame."""

    file: str
    line: int
    function: str


def waits_in(frames: Sequence[str], *, on_device: bool) -> str:
    """What a main thread with these frames waits in for other ranks; empty: it does something else.

    `on_device`: it trains on a GPU, whose kernels wait for other ranks, so that a wait for the GPU counts. Some calls
    are known by their line of source alone, which is read from its file.
    """
    inner = [one for frame in frames if (one := _parsed(frame)) is not None]
    while inner and any(part in inner[0].file for part in _BETWEEN):
        inner.pop(0)
    if not inner:
        return ""
    first = inner[0]
    if first.file.endswith(_COLLECTIVES):
        return _collective(inner)
    if first.file.endswith(("torch/autograd/graph.py", "torch/autograd/__init__.py")):
        return BACKWARD if "backward" in first.function else ""
    if any(part in first.file for part in _EXCHANGING):
        return f"{first.function} of torch.distributed"
    if first.file.endswith(_DEVICE_FILES) and first.function in ("synchronize", "wait", "wait_event"):
        return DEVICE
    line = source_line(first.file, first.line)
    if on_device and _DEVICE_CALL.search(line):
        return DEVICE
    return WORK if _WORK_CALL.search(line) else ""


def doubts(frames: Sequence[str]) -> list[str]:
    """Why a rank with these frames may be at work that takes long, in words; empty without such a sign."""
    names = [one.function for frame in filter(is_own, frames) if (one := _parsed(frame)) is not None]
    return [
        words
        for words, files, functions in _DOUBTS
        if any(files.search(frame) for frame in frames) or any(functions.fullmatch(name) for name in names)
    ]


def waits_for_data(frames: Sequence[str]) -> bool:
    """Whether it waits for the workers of a DataLoader."""
    reads = any(_LOADER in frame for frame in frames)
    return reads and any(part in frames[0] for part in _WAITS_OF_PYTHON)


def is_worker(frames: Sequence[str]) -> bool:
    """Whether these are the frames of a worker of a DataLoader."""
    return any(frame.endswith(_WORKER_LOOP) for frame in frames)


def is_idle_worker(frames: Sequence[str]) -> bool:
    """Whether a worker of a DataLoader waits for work, or for room for a batch."""
    inside = itertools.takewhile(lambda frame: not frame.endswith(_WORKER_LOOP), frames)
    return is_worker(frames) and all(any(part in frame for part in _WAITS_OF_PYTHON) for frame in inside)


def own_frames(frames: Sequence[str]) -> tuple[str, ...]:
    """The frames of the user's own code; all of them where there is none."""
    return tuple(frame for frame in frames if is_own(frame)) or tuple(frames)


def source_line(file: str, line: int) -> str:
    """A line of a source file, from 1; empty where it cannot be read."""
    path = Path(file)
    try:
        if not path.is_absolute() or not path.is_file() or path.stat().st_size > _MAX_SOURCE:
            return ""
        lines = path.read_text(errors="replace").splitlines()
    except (OSError, ValueError):
        return ""
    return lines[line - 1] if 0 < line <= len(lines) else ""


def _collective(inner: Sequence[Frame]) -> str:
    """The collective that the script called: ``all_gather_object`` rather than the ``all_gather`` inside it."""
    name = inner[0].function
    for frame in inner[1:]:
        if frame.file.endswith(_COLLECTIVES):
            name = frame.function
        elif not any(part in frame.file for part in _BETWEEN):
            break
    return name


def _parsed(frame: str) -> Frame | None:
    found = _FRAME.fullmatch(frame)
    return Frame(found[1], int(found[2]), found[3]) if found else None
